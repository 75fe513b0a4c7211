"""Words in all scripts: what is one, what is found by what, and what stemmers are given."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from Stemmer import Stemmer, algorithms

from innersearch.errors import SearchError
from innersearch.search.index.bm25 import BM25Engine, BM25Parameters
from innersearch.search.index.words import EarlierWords, Words, folded
from innersearch.types import Document

STEMMERS = [None, *algorithms()]


def found(texts: list[str], query: str, stemmer: str | None = "english") -> list[int]:
    """Numbers of the texts that are found, best first."""
    documents = [Document(str(n), "", text) for n, text in enumerate(texts)]
    engine = BM25Engine.from_documents(documents, BM25Parameters(stemmer=stemmer))
    [result] = asyncio.run(engine.search([query], len(texts)))
    return [int(document.id) for document in result.documents]


def test_words_of_texts() -> None:
    words = Words(None)

    def terms(text: str) -> list[str]:
        return [words.term(word) for word in words.of_text(text)]

    assert terms("U.S. 5-year Plan №1, ĲSSEL ① İzmir snake_case") == [
        *("u", "s", "5", "year", "plan", "no1", "ijssel", "1", "izmir", "snake_case")
    ]
    assert terms("東京タワー Tokyo한국어 e\u0301te\u0301 猫") == [
        *("東", "東京", "京", "京タ", "タ", "タワ", "ワ", "ワー", "ー", "tokyo"),
        *("한", "한국", "국", "국어", "어", "ete", "猫"),
    ]
    assert words.of_query("東京 猫") == ["東京", "猫"]
    assert terms("don't l’homme the queen's O’Neill’s") == [
        *("don", "t", "l", "homme", "the", "queen", "o", "neill")
    ]
    assert terms("👍🏽 ️⃣ … \u0301 --") == []


SCRIPTS = {
    "hindi": (["दिल्ली भारत की राजधानी है", "मुंबई एक बड़ा शहर है", "द ल लड"], "दिल्ली"),
    "bengali": (["ঢাকা বাংলাদেশের রাজধানী", "কলকাতা একটি শহর"], "রাজধানী"),
    "tamil": (["சென்னை தமிழ்நாட்டின் தலைநகரம்", "மதுரை ஒரு நகரம்"], "சென்னை"),
    "telugu": (["హైదరాబాదు రాజధాని", "విజయవాడ నగరం"], "హైదరాబాదు"),
    "sinhala with joiners": (["ශ්‍රී ලංකාව", "කොළඹ නගරය"], "ශ්රී"),
    "thaana": (["މާލެ ވެރިރަށް", "އައްޑޫ"], "މާލެ"),
    "arabic with points": (["كِتَابٌ جَدِيدٌ", "مدرسة قديمة"], "كتاب"),
    "hebrew with points": (["שָׁלוֹם עֲלֵיכֶם", "תודה רבה"], "שלום"),
    "persian with joiners": (["کتاب‌ها خوب هستند", "شهر بزرگ"], "کتابها"),
    "thai": (["กรุงเทพเป็นเมืองหลวงของไทย", "เชียงใหม่อยู่ทางเหนือ", "กรุณาเทพบุตร"], "เมืองหลวง"),
    "lao": (["ວຽງຈັນແມ່ນນະຄອນຫຼວງ", "ປາກເຊເມືອງໃຫຍ່"], "ນະຄອນຫຼວງ"),
    "khmer": (["ភ្នំពេញជារាជធានី", "សៀមរាបជាទីក្រុង"], "រាជធានី"),
    "burmese": (["နေပြည်တော်သည်မြို့တော်ဖြစ်သည်", "ရန်ကုန်"], "မြို့တော်"),
    "chinese": (["北京是中国的首都", "京东在北方", "中南"], "北京"),
    "japanese": (["東京は日本の首都です", "京都は東の古都"], "東京"),
    "katakana, half width": (["コンピュータの歴史", "タコの本"], "ｺﾝﾋﾟｭｰﾀ"),
    "korean": (["서울은 한국의 수도이다", "부산은 항구"], "서울의 수도"),
    "georgian": (["თბილისი დედაქალაქია", "ბათუმი ქალაქია"], "თბილისი"),
    "amharic": (["አዲስ አበባ ዋና ከተማ", "ጎንደር ከተማ"], "አበባ"),
    "tibetan": (["ལྷ་ས་གྲོང་ཁྱེར", "གཞིས་ཀ"], "ལྷ་ས"),
    "greek capitals": (["Η οδός Ερμού", "μια πόλη"], "ΟΔΟΣ"),
    "stress marks": (["Москва́ — столица", "город Тверь"], "Москва"),
    "ё": (["берёза и ёлка", "дуб"], "береза"),
    "ukrainian apostrophes": (["п’ять років", "три роки"], "пʼять"),
    "turkish capitals": (["ISPARTA ve İZMİR", "Ankara"], "ısparta"),
    "german": (["Die STRASSE in Größe", "der Weg"], "Straße Grösse"),
    "polish": (["Łódź w Polsce", "Kraków"], "Lodz"),
    "danish": (["Ærø og Læsø", "Fyn"], "Aero Laesoe laeso"),
    "vietnamese": (["Hà Nội là thủ đô", "Huế"], "ha noi"),
    "digits of others": (["१९४७ में", "١٩٤٨"], "1947"),
    "hawaiian": (["Hawai‘i", "Maui"], "Hawaiʻi"),
    "emoji inside": (["❤️love❤️", "hate"], "love"),
}


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_only_what_shares_a_word_is_found_in_every_script(language: str, form: str) -> None:
    texts, query = SCRIPTS[language]
    texts = [unicodedata.normalize("NFD" if form == "NFC" else "NFC", text) for text in texts]
    assert found(texts, unicodedata.normalize(form, query)) == [0]
    assert found(texts, unicodedata.normalize(form, query), stemmer=None) == [0]


def test_letters_that_are_no_accented_form_stay() -> None:
    assert found(["мой", "мои", "мое"], "мой") == [0]
    assert found(["їжак", "іжак"], "їжак") == [0]
    assert found(["क़लम", "कलम"], "क़लम") == [0]
    assert found(["がく", "かく"], "がく") == [0]


FORMS = {
    "arabic": ("كتاب", "الكتاب"),
    "armenian": ("մարդ", "մարդիկ"),
    "basque": ("etxe", "etxeak"),
    "catalan": ("col·lecció", "col·leccions"),
    "czech": ("žena", "ženy"),
    "danish": ("måned", "måneder"),
    "dutch": ("huis", "huizen"),
    "english": ("café", "cafés"),
    "esperanto": ("ĉevalo", "ĉevalojn"),
    "finnish": ("talo", "TALOSSA"),
    "french": ("élève", "ÉLÈVES"),
    "german": ("Haus", "Häuser"),
    "greek": ("άνθρωπος", "ΑΝΘΡΩΠΟΥ"),
    "hindi": ("लड़का", "लड़के"),
    "hungarian": ("ház", "HÁZAK"),
    "indonesian": ("membaca", "bacaan"),
    "italian": ("libro", "libri"),
    "lithuanian": ("ąžuolas", "ąžuolo"),
    "nepali": ("केटा", "केटाहरू"),
    "norwegian": ("bøker", "bøkene"),
    "persian": ("کتاب", "کتاب‌ها"),
    "polish": ("książka", "książki"),
    "porter": ("naïve", "naive"),
    "romanian": ("oraș", "oraşul"),
    "russian": ("Новый", "нового"),
    "serbian": ("књига", "knjige"),
    "spanish": ("canción", "CANCIONES"),
    "swedish": ("björn", "björnar"),
    "tamil": ("வீடு", "வீடுகள்"),
    "turkish": ("kız", "KIZLAR"),
    "yiddish": ("קינד", "קינדער"),
}


@pytest.mark.parametrize("stemmer", FORMS)
def test_forms_of_a_word_find_each_other(stemmer: str) -> None:
    for text, query in (FORMS[stemmer], FORMS[stemmer][::-1]):
        assert found([text, "zzz"], query, stemmer) == [0]
        assert found([unicodedata.normalize("NFD", text), "zzz"], query, stemmer) == [0]


ORTHOGRAPHY = {
    "arabic": "مُدَرِّس آباء أخت إسلام مدرسة",
    "catalan": "ciutats àvia llengües cançó",
    "czech": "příběhy školách ženou městům ďábel ťuk ňadra",
    "danish": "måneder bøger lærere",
    "dutch": "reünie één geïrriteerd",
    "esperanto": "ĉevalojn ĝardeno ŝafoj",
    "estonian": "öösel mägedes sõnadega",
    "finnish": "pöydällä työssä åkerit",
    "french": "françaises élevées mangée où œuvres naïveté",
    "german": "größer häuser schönste straße",
    "greek": "οδούς ανθρώπων ϊ αθλήματα",
    "hungarian": "könyvekből házakat tűzőgép",
    "irish": "tíre leabhair",
    "italian": "perché città libertà virtù",
    "lithuanian": "ąžuolų gražiausią",
    "norwegian": "bøkene måneders lærer",
    "persian": "میروم آینده کتابها",
    "polish": "książkami szkołach źródło łódź",
    "portuguese": "corações ações português",
    "romanian": "orașelor țărilor copiilor",
    "russian": "новыми берёзовый объезжай чай",
    "serbian": "čovek љубав ђаци šuma",
    "spanish": "años niñas canción vergüenza",
    "swedish": "åren städernas björnar",
    "turkish": "ağaçlarımız köpeğin ısparta kızılırmak",
    "yiddish": "ביכער יידיש",
}


@pytest.mark.parametrize("stemmer", ORTHOGRAPHY)
def test_a_stemmer_is_given_the_letters_of_its_language(stemmer: str) -> None:
    for word in unicodedata.normalize("NFC", ORTHOGRAPHY[stemmer]).split():
        assert Words(stemmer).term(word) == folded(Stemmer(stemmer).stemWord(word)), word


def test_accents_that_a_stemmer_does_not_know_are_taken_off_before_it() -> None:
    for stemmer in ("english", "porter", "indonesian", "french", "german", "hungarian"):
        assert Words(stemmer).term("ñåžures") == Words(stemmer).term("nazures")


@given(st.sampled_from(STEMMERS), st.text(max_size=30))
def test_every_text_is_found_by_itself_in_any_form(stemmer: str | None, text: str) -> None:
    words = Words(stemmer)
    held = {words.term(word) for word in words.of_text(text)}
    for form in ("NFC", "NFD"):
        again = unicodedata.normalize(form, text)
        assert [words.term(word) for word in words.of_text(again)] == [
            words.term(word) for word in words.of_text(unicodedata.normalize("NFC", text))
        ]
        assert set(words.of_query(again)) <= {
            words.term(word) for word in words.of_text(unicodedata.normalize("NFC", text))
        }
    assert ("" in held) <= (stemmer is not None)


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_ascii_text_has_the_words_it_always_had(text: str) -> None:
    for stemmer in (None, "english"):
        now, before = Words(stemmer), EarlierWords(stemmer)
        assert now.of_text(text) == before.of_text(text)
        assert [now.term(w) for w in now.of_text(text)] == [before.term(w) for w in before.of_text(text)]


VITAMINS = [
    "Vitamin C is found in oranges, a fruit",
    "Vitamin A is found in carrots",
    "Vitamin D comes from the sun, a star",
]


def test_one_letter_words_and_capitals_are_asked_for() -> None:
    assert found(VITAMINS, "vitamin A")[0] == 1
    assert found(VITAMINS, "vitamin C")[0] == 0
    words = Words("english")
    for query, asked in {
        "vitamin a": ["vitamin", "a"],
        "Who found hepatitis A and B?": ["who", "found", "hepat", "a", "b"],
        "plan X": ["plan", "x"],
        "name a city in Peru": ["name", "citi", "peru"],
        "A city": ["citi"],
        "jobs in IT at a firm": ["job", "it", "firm"],
        "WHO IS THE KING OF A CITY": ["who", "king", "citi"],
        "It": ["it"],
        "to be or not to be": ["to", "be", "or", "not", "to", "be"],
    }.items():
        assert words.of_query(query) == asked, query


@pytest.mark.parametrize(
    ("stemmer", "query"), [("danish", "by ved hav"), ("turkish", "at ve it"), ("polish", "no to")]
)
def test_english_stop_words_are_words_of_other_languages(stemmer: str, query: str) -> None:
    words = Words(stemmer)
    assert words.of_query(query) == [words.term(word) for word in query.split()]


def test_an_index_of_an_earlier_version_is_searched_as_it_was_built(tmp_path: Path) -> None:
    documents = [Document("1", "", "Новый café"), Document("2", "", "北 дом дома")]
    folder = tmp_path / "index"
    asyncio.run(BM25Engine.build(documents, folder, BM25Parameters(words=1)).close())
    settings = json.loads((folder / "settings.json").read_text())
    for name in ("words", "spelling"):
        del settings["parameters"][name]
    (folder / "settings.json").write_text(json.dumps(settings))
    engine = BM25Engine.open(folder)
    assert "words" not in engine.identity
    queries = ["новыи", "cafe", "北京", "дом"]
    results = asyncio.run(engine.search(queries, 3))
    assert [[d.id for d in r.documents] for r in results] == [["1"], ["1"], ["2"], ["2"]]
    for wrong in ({"words": 99}, {"dial": 1}, {"stemmer": "klingon"}, {"k1": "high"}):
        settings["parameters"] |= wrong
        (folder / "settings.json").write_text(json.dumps(settings))
        with pytest.raises(SearchError, match=r"parameters .* not known here.*innersearch index"):
            BM25Engine.open(folder)
        for name in wrong:
            del settings["parameters"][name]
