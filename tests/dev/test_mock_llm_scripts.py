import pytest

from dev.mock_llm import Script, ScriptError, answer_text, parse, partial_text, thinking_text
from dev.mock_llm.scripts import answer_tokens, choose, obey


def test_a_script_is_a_list_of_knobs_with_commas():
    assert parse("tokens=20,gap=50ms,first=1.5s,headers=2") == Script(
        tokens=20, gap=0.05, first=1.5, headers=2
    )


def test_ampersands_may_replace_commas():
    assert parse("tokens=3&status=529") == Script(tokens=3, status=529)


def test_a_script_may_be_a_json_object():
    assert parse('{"text": "a, b", "gap": "5ms", "crlf": true}') == Script(text="a, b", gap=0.005, crlf=True)


def test_a_bare_word_is_a_status_a_fault_or_a_switch():
    assert parse("429,retry_after=2") == Script(status=429, retry_after="2")
    assert parse("reset,after=5,odd") == Script(fault="reset", after=5, odd=True)


def test_values_are_percent_decoded():
    assert answer_text("text=one%2C two%3A%00 three") == "one, two:\x00 three"


def test_a_text_is_split_into_words_or_into_pieces_of_n_letters():
    assert answer_tokens(parse("text=one two")) == ("one", " two")
    assert answer_tokens(parse("text=one two,letters=3")) == ("one", " tw", "o")


def test_a_model_that_obeys_follows_the_users_script_or_repeats_the_question():
    assert obey(parse("obey"), "mock:tokens=3,gap=10ms") == Script(tokens=3, gap=0.01)
    assert answer_text(obey(parse("obey,letters=2"), "How are you?")) == "How are you?"
    with pytest.raises(ScriptError, match="mock script"):
        obey(parse("obey"), "mock:tokns=3")


def test_fail_is_a_500_unless_a_fault_or_status_is_named():
    assert parse("fail=2").status == 500
    assert parse("fail=2,503").status == 503
    assert parse("fail=2,reset") == Script(fail=2, fault="reset")


@pytest.mark.parametrize("script", ["tokns=3", "reste", "tokens=many", "gap=soon", "600", "{", "cached=13"])
def test_a_malformed_script_is_refused(script):
    with pytest.raises(ScriptError, match="mock script"):
        parse(script)


@pytest.mark.parametrize("model", ["gpt-4o", "llama3.2:1b", "mock", "qwen3:30b-a3b", "hang"])
def test_a_plain_name_has_the_default_script(model):
    assert choose(model) == Script()


def test_the_script_follows_the_last_colon_of_the_name():
    assert choose("llama3.2:1b:tokens=3") == Script(tokens=3)
    assert choose("claude-sonnet-5-5:529") == Script(status=529)


def test_the_header_wins_over_the_name():
    assert choose("mock:500", "tokens=3") == Script(tokens=3)


def test_a_mistyped_script_of_the_mock_is_refused():
    with pytest.raises(ScriptError, match="truncated"):
        choose("mock:truncated")


def test_tests_can_predict_the_texts():
    assert answer_text("tokens=4") == "Lorem ipsum dolor sit"
    assert partial_text("tokens=4,after=2,truncate") == "Lorem ipsum"
    assert thinking_text("thinking=2") == "ullamco. exercitation"
    assert Script(tokens=4, thinking=2).output == 6


def test_the_odd_text_has_characters_that_break_careless_parsers():
    for odd in ("\x00", "\ud800", "\u2028", '"', "\\", "\n\n", "[DONE]"):
        assert odd in answer_text("odd")
