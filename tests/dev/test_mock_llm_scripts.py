import pytest

from dev.mock_llm import Script, ScriptError, answer_text, parse, partial_text, thinking_text
from dev.mock_llm.scripts import answer_tokens, choose, obey


def test_a_script_is_knobs_between_commas():
    assert parse("tokens=20,gap=50ms,first=1.5s,headers=2") == Script(
        tokens=20, gap=0.05, first=1.5, headers=2
    )


def test_ampersands_serve_where_a_list_of_models_has_the_commas():
    assert parse("tokens=3&status=529") == Script(tokens=3, status=529)


def test_a_script_may_be_a_json_object():
    assert parse('{"text": "a, b", "gap": "5ms", "crlf": true}') == Script(text="a, b", gap=0.005, crlf=True)


def test_bare_words_are_a_status_a_fault_or_a_switch():
    assert parse("429,retry_after=2") == Script(status=429, retry_after="2")
    assert parse("reset,after=5,odd") == Script(fault="reset", after=5, odd=True)


def test_values_are_percent_decoded():
    assert answer_text("text=one%2C two%3A%00 three") == "one, two:\x00 three"


def test_a_text_comes_in_words_or_in_so_many_letters():
    assert answer_tokens(parse("text=one two")) == ("one", " two")
    assert answer_tokens(parse("text=one two,letters=3")) == ("one", " tw", "o")


def test_what_obeys_is_told_its_script_by_the_user_or_says_back_what_it_hears():
    assert obey(parse("obey"), "mock:tokens=3,gap=10ms") == Script(tokens=3, gap=0.01)
    assert answer_text(obey(parse("obey,letters=2"), "How are you?")) == "How are you?"
    with pytest.raises(ScriptError, match="mock script"):
        obey(parse("obey"), "mock:tokns=3")


def test_failing_a_few_times_is_a_500_unless_the_fault_is_named():
    assert parse("fail=2").status == 500
    assert parse("fail=2,503").status == 503
    assert parse("fail=2,reset") == Script(fail=2, fault="reset")


@pytest.mark.parametrize("script", ["tokns=3", "reste", "tokens=many", "gap=soon", "600", "{", "cached=13"])
def test_what_is_no_script_is_refused(script):
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


def test_a_mistyped_script_of_the_mock_is_not_taken_for_a_name():
    with pytest.raises(ScriptError, match="truncated"):
        choose("mock:truncated")


def test_the_texts_are_known_beforehand():
    assert answer_text("tokens=4") == "Lorem ipsum dolor sit"
    assert partial_text("tokens=4,after=2,truncate") == "Lorem ipsum"
    assert thinking_text("thinking=2") == "ullamco. exercitation"
    assert Script(tokens=4, thinking=2).output == 6


def test_the_odd_text_has_what_careless_parsers_break_on():
    for odd in ("\x00", "\ud800", "\u2028", '"', "\\", "\n\n", "[DONE]"):
        assert odd in answer_text("odd")
