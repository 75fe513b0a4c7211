"""The world's tokenizer: a byte-level BPE whose protocol tags are single tokens.

Trained on text in which every name, real and fictional, is equally frequent, so that no name is one
token and none is spelled in two ways (`add_prefix_space` gives names after a tag and names inside a
sentence the same tokens).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from innersearch.grammar import TAGGED, closing, opening
from innersearch.world.encyclopedia import Encyclopedia, syllables
from innersearch.world.questions import phrase
from innersearch.world.relations import PAIRS, RELATIONS, EntityKind

VOCABULARY = 656
END, PAD = "<|endoftext|>", "<|pad|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
)
"""Renders a user message exactly as the corpus writes a question."""


def train_tokenizer(world: Encyclopedia) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a world; the same world gives the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 * len(TAGGED),
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample_text(world), trainer)
    tags = [tag for kind in TAGGED for tag in (opening(kind), closing(kind))]
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        add_prefix_space=True,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
    )


def is_world(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model with this tokenizer expects the world's bare questions instead of instructions."""
    return tokenizer.chat_template == CHAT_TEMPLATE


def _sample_text(world: Encyclopedia) -> Iterator[str]:
    """Every phrasing of the world, with names cut in two by a bar that no merge can cross."""
    rng = random.Random(f"tokenizer-{world.seed}")
    names = {
        kind: ["|".join(syllables(name, kind)) for name in [*fictional, *_names(world, kind)]]
        for kind, fictional in world.fictional.items()
    }
    for _ in range(4000):
        relation = rng.choice(list(RELATIONS.values()))
        head, tail = rng.choice(names[relation.head]), rng.choice(names[relation.tail])
        yield rng.choice(relation.statements).format(x=head, y=tail)
        yield rng.choice(relation.queries).format(x=head)
        yield f"I need the {relation.noun} of {head}. The {relation.noun} is {tail}. Now I need it."
        pair = rng.choice(PAIRS)
        yield f"Question: {phrase(pair, rng.choice(names[RELATIONS[pair[0]].head]), rng)}\n"
        yield f"Question: {phrase((relation.name,), head, rng)} Answer directly.\n {tail}"
        yield f"The answer is {tail}. I know this one. I can answer without a search. Well."


def _names(world: Encyclopedia, kind: EntityKind) -> list[str]:
    return [entity.name for entity in world.entities if entity.kind is kind]
