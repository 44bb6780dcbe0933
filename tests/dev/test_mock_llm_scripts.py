import pytest

from dev.mock_llm import Script, ScriptError, answer_text, parse, partial_text, thinking_text
from dev.mock_llm.scripts import answer_tokens, choose, obey


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("tokens=20,gap=50ms,first=1.5s,headers=2", Script(tokens=20, gap=0.05, first=1.5, headers=2)),
        ("tokens=3&status=529", Script(tokens=3, status=529)),
        ('{"text": "a, b", "gap": "5ms", "crlf": true}', Script(text="a, b", gap=0.005, crlf=True)),
        ("429,retry_after=2", Script(status=429, retry_after="2")),
        ("reset,after=5,odd", Script(fault="reset", after=5, odd=True)),
        ("text=one%2C two%3A%00 three", Script(text="one, two:\x00 three")),
        ("fail=2", Script(fail=2, status=500)),
        ("fail=2,503", Script(fail=2, status=503)),
        ("fail=2,reset", Script(fail=2, fault="reset")),
    ],
)
def test_a_script_is_knobs_statuses_faults_and_switches_or_json(text, script):
    assert parse(text) == script


def test_a_malformed_script_is_refused():
    for script in ("tokns=3", "reste", "tokens=many", "gap=soon", "600", "{", "cached=13"):
        with pytest.raises(ScriptError, match="mock script"):
            parse(script)


@pytest.mark.parametrize(
    ("model", "script"),
    [
        *((name, Script()) for name in ("gpt-4o", "llama3.2:1b", "mock", "qwen3:30b-a3b", "hang")),
        ("llama3.2:1b:tokens=3", Script(tokens=3)),
        ("claude-sonnet-5-5:529", Script(status=529)),
    ],
)
def test_a_script_follows_the_last_colon_of_a_models_name(model, script):
    assert choose(model) == script


def test_the_header_wins_over_the_name():
    assert choose("mock:500", "tokens=3") == Script(tokens=3)


def test_a_mistyped_script_of_the_mock_is_refused():
    with pytest.raises(ScriptError, match="truncated"):
        choose("mock:truncated")


def test_a_text_is_split_into_words_or_into_pieces_of_n_letters():
    assert answer_tokens(parse("text=one two")) == ("one", " two")
    assert answer_tokens(parse("text=one two,letters=3")) == ("one", " tw", "o")


def test_an_obeying_model_follows_the_script_or_repeats_the_question():
    assert obey(parse("obey"), "mock:tokens=3,gap=10ms") == Script(tokens=3, gap=0.01)
    assert answer_text(obey(parse("obey,letters=2"), "How are you?")) == "How are you?"
    with pytest.raises(ScriptError, match="mock script"):
        obey(parse("obey"), "mock:tokns=3")


def test_the_texts_of_a_script_are_known_in_advance():
    assert answer_text("tokens=4") == "Lorem ipsum dolor sit"
    assert partial_text("tokens=4,after=2,truncate") == "Lorem ipsum"
    assert thinking_text("thinking=2") == "ullamco. exercitation"
    assert Script(tokens=4, thinking=2).output == 6
