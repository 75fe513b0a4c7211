"""What chat models say around documents or in their place: greetings, closing words, refusals.

The commonest ones of a dozen languages, each at the beginning of a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

_BEGINNING = r"\A[\s*_#>()\[\]\"'“„«¡-]{0,8}"
_APOSTROPHE = "['’ʼ]"


def _any(*phrases: str) -> re.Pattern[str]:
    spelled = "|".join(phrases).replace("'", _APOSTROPHE)
    return re.compile(f"{_BEGINNING}(?:{spelled})", re.IGNORECASE)


_DO = (
    "(?:help|assist|provide|write|generate|create|comply|fulfill?|continue|answer|produce|give|offer|do "
    "that|do this|simulate|act|play|pretend|share|discuss|engage|support|search|access|browse|process|"
    "complete|invent|fabricate|make up|participate)"
)
_REFUSAL = _any(
    rf"(?:no, |unfortunately,? |however, )?i (?:(?:really|simply|just) )?"
    rf"(?:can ?not|can't|could not|couldn't|will not|won't|do not|don't) {_DO}\b",
    r"it is not possible for me to\b|i must refrain\b",
    rf"i(?:'m| am) (?:not able|unable) to {_DO}\b",
    r"i(?:'m| am) (?:really |very |so )?sorry(?=,|\.|;| but| i\b)",
    r"(?:sorry|(?:my )?apologies|unfortunately)(?:,|\.| but) ?(?:but )?(?:i|we|this|that|as|your)\b",
    r"i (?:must |have to )?(?:respectfully )?(?:apologi[sz]e|decline|refuse)\b",
    r"i don't (?:have|feel)\b.{0,40}(?:access|comfortable|ability|able|browse)",
    r"as an? (?:ai\b|artificial intelligence|(?:large )?language model|(?:ai|virtual) assistant)",
    r"(?:this|your|the) (?:request|prompt|query) (?:violates|was (?:flagged|blocked|rejected))",
    # German, Dutch
    r"(?:es )?tut mir (?:sehr )?leid[,.]|(?:entschuldigung|leider)[,.]? (?:aber )?(?:ich |kann ich )",
    r"ich kann (?:ihnen |dir |ihre |diese |dabei |das |leider |keine ){0,4}(?:nicht|keine)",
    r"als (?:ki\b|sprachmodell)|het spijt me|sorry, maar|ik kan (?:je |u )?(?:niet|geen)\b",
    # French, Spanish, Portuguese, Italian
    r"(?:je suis )?désolée?[,.]|(?:je suis )?désolée?,? mais|je ne (?:peux|suis) pas",
    r"en tant qu'(?:ia\b|intelligence|assistant)",
    r"lo siento[,.]|lo siento,? pero|lamento,? (?:no|pero)|como (?:modelo|una ia|inteligencia)\b",
    r"no puedo (?:ayudar|proporcionar|crear|generar|cumplir|escribir|responder|hacer)",
    r"(?:desculpe|sinto muito)[,.]|(?:desculpe|sinto muito),? mas|como (?:um|uma) (?:modelo|ia)\b",
    r"não (?:posso|consigo) (?:ajudar|fornecer|criar|gerar|atender|escrever|responder)",
    r"mi (?:di)?spiace[,.]|mi (?:di)?spiace,? ma|come (?:modello|ia|intelligenza)\b",
    r"non posso (?:aiutar|fornir|crear|generar|scriver|risponder)",
    # Russian, Polish, Turkish, Vietnamese, Indonesian
    r"(?:извините|простите|к сожалению), |я не могу|как (?:языковая модель|ии\b|искусственный)",
    r"(?:przykro mi|przepraszam)[,.]|nie mogę|(?:üzgünüm|maalesef)[,.]|xin lỗi,|tôi không thể",
    r"maaf,|saya tidak (?:bisa|dapat)",
    # Swedish, Norwegian, Danish, Finnish, Czech, Hungarian, Romanian, Greek, Ukrainian, Hebrew, Thai
    r"(?:tyvärr |dessvärre )?(?:jag|jeg) kan (?:tyvärr |dessverre |desværre )?(?:inte|ikke)\b",
    r"(?:förlåt|beklager|beklagar|undskyld|valitettavasti|anteeksi), |olen pahoillani|en voi auttaa",
    r"(?:omlouvám se|je mi líto|bohužel|sajnálom|sajnos|îmi pare rău|ne pare rău), |nemohu |nem tudok ",
    r"nu (?:pot|vă pot|te pot) (?:ajuta|oferi|genera)|λυπάμαι|συγγνώμη,|δεν μπορώ να",
    r"(?:вибачте|перепрошую|на жаль), |я не можу|(?:אני )?מצטער|סליחה,|אינני יכול",
    r"ขออภัย|ขอโทษ|ฉันไม่สามารถ",
    # Chinese, Japanese, Korean, Arabic, Hindi
    r"(?:很?抱歉|对不起|對不起)[，,。.！!、我但 ]|我(?:无法|不能|不会|無法)",
    r"(?:作为|作為|身為)(?:一个|一個|一名)?(?:ai|人工智能|人工智慧|语言模型)",
    r"申し訳|すみません|ごめんなさい|お手伝いできません|죄송|미안하|저는 ai",
    r"آسف|عذر|أعتذر|لا أستطيع|لا يمكنني|क्षमा|मुझे (?:खेद|माफ़)|माफ़ ?कीजिए",
)
_CLOSING = _any(
    r"(?:i )?(?:do )?hope (?:this|these|that|the|it|they)\b",
    r"(?:please )?(?:let me know|feel free to|do not hesitate|don't hesitate)\b",
    r"(?:please )?note(?: that\b|\**:|,)|please (?:keep in mind|be aware|remember)\b|n\.?b\.?[:.]",
    r"(?:disclaimer|explanation|reasoning)\**:",
    r"(?:(?:all|each) (?:of )?)?(?:these|the above|those) (?:documents?|results?|snippets?|passages?)\b",
    r"(?:each|every|all(?: the)?) documents? (?:is|are|was|were|has|have|above)\b",
    r"(?:is there anything|would you like|do you (?:want|need)|shall i|should i|can i help|happy to)\b",
    r"if you(?:'d| would)? (?:need|want|like|have|require|wish)\b",
    r"i(?:'ve| have) (?:provided|written|generated|created|included|made|followed|tried|used)\b",
    r"word count\b",
    r"end of (?:the )?(?:documents?|results?|output|search)|\[?end\]?\Z|as (?:you )?requested\b",
    # German, Dutch
    r"ich hoffe|(?:hinweis|anmerkung)\**:|bitte beachten|lassen? (?:sie|es) mich",
    r"wenn (?:sie|du) (?:weitere|noch)|laat het me|opmerking:",
    # French, Spanish, Portuguese, Italian
    r"j'espère|n'hésitez|remarque ?\**:|veuillez noter|si vous (?:avez|souhaitez)",
    r"espero que|nota ?\**:|no duden? en|avísame|ten en cuenta|si (?:necesitas|quieres|desea)",
    r"observação\**:|se (?:precisar|quiser|desidera|vuoi)|spero che|fammi sapere",
    # Russian, Vietnamese, Indonesian
    r"надеюсь|примечание ?:|обратите внимание|дайте знать|если (?:вам|у вас|вы|нужн)",
    r"hy vọng|lưu ý:|semoga|catatan:",
    # Chinese, Japanese, Korean, Arabic, Hindi
    r"希望(?:这|這|以上|对|對|能)|如(?:果|有)(?:您|你|需|任何|其他)|请注意|請注意|注意?[：:]",
    r"以上(?:是|为|文|の|で|が)|お役に立|ご不明|他に(?:何か|ご)|なお、",
    r"도움이 되|참고[：:]|더 (?:필요|궁금)",
    r"آمل|أتمنى أن|ملاحظة|मुझे (?:उम्मीद|आशा)|नोट ?:|कृपया ध्यान",
)
_GLUED = re.compile(
    r"(?<=[.!?…。！？\"”)])\s{0,4}(?:I hope (?:this|these|that|it)\b[^.!?\n]{0,80}helps?|"
    r"(?:Please )?[Ll]et me know if (?:you|there|this)|"
    r"(?:Please )?[Ff]eel free to (?:ask|reach|let))\b.*\Z",
    re.DOTALL,
)
"""Closing words in the line of a document, of a kind that stands in none."""
_GREETING = re.compile(
    rf"{_BEGINNING}(?:"
    r"(?:sure|certainly|of course|absolutely|okay|ok|great|understood|got it|gladly)(?:[,.!]|\Z)"
    r"|(?:search |the )?(?:results|documents)(?: for\b[^\n]{0,200})?:\Z"
    r"|(?:here(?:'s| is| are)|below (?:is|are)|the following|these are)\b[^\n]{0,200}:[*_]{0,2}\Z"
    r"|(?:voici|hier (?:ist|sind)|aquí (?:está|tiene)|aqui está|ecco|вот|以下|好的|当然|もちろん)"
    r"[^\n]{0,99}[:：!！][*_]{0,2}\Z)",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether a text declines to write documents.

    >>> is_refusal("I'm sorry, but I can't help."), is_refusal("Sorry is a song by Justin Bieber.")
    (True, False)
    """
    return bool(_REFUSAL.match(text))


def is_greeting(line: str) -> bool:
    """Whether a line only leads up to documents."""
    return bool(_GREETING.match(line))


def is_closing(line: str) -> bool:
    """Whether a line speaks about documents that are over.

    >>> is_closing("**Note:** They are fictional."), is_closing("Noted for its beaches.")
    (True, False)
    """
    return bool(_CLOSING.match(line))


def without_closing(lines: Sequence[str]) -> tuple[list[str], bool]:
    """The lines of a document up to closing words, and whether there were any.

    Its first line is never taken for such, except at its end.
    """
    kept = [*lines[:1], *takewhile(lambda line: not is_closing(line), lines[1:])]
    closed = len(kept) < len(lines)
    while len(kept) > 1 and not kept[-1].strip(" -*_=#`"):
        kept.pop()
    if kept and (glued := _GLUED.search(kept[-1])):
        kept[-1], closed = kept[-1][: glued.start()], True
    return kept, closed
