from __future__ import annotations

import pytest

from tollkeeper.errors import WireError
from tollkeeper.wire import gemini


def parts(*given: object) -> list[dict[str, object]]:
    return [{"role": "user", "parts": list(given)}]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"contents": ...}, "contents is missing"),
        ({"contents": "hi"}, "contents must be a list"),
        ({"contents": [{"parts": 5}]}, "parts of a content"),
        ({"contents": parts(5)}, "part of a content"),
        ({"generationConfig": []}, "generationConfig must be an object"),
        (
            {"generationConfig": {"maxOutputTokens": "100"}},
            "maxOutputTokens must be a whole number",
        ),
        ({"generationConfig": {"candidateCount": 0}}, "candidateCount must be a whole number"),
        ({"generationConfig": {}, "generation_config": {}}, "one field; send it once"),
        (
            {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}},
            "one field; send it once",
        ),
        ({"model": "models/gemini-2.5-flash"}, "the body another one"),
        ({"model": 5}, "model must be text"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "no name"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_refused_in_one_sentence(
    parse, given, says
) -> None:
    with pytest.raises(WireError, match=says):
        parse("gemini", **given)


def test_model_and_stream_stand_in_the_path(parse) -> None:
    whole, streamed = parse("gemini"), parse("gemini-stream", model="models/gemini-2.5-pro")

    assert (whole.model, whole.stream) == ("gemini-2.5-pro", False)
    assert (streamed.model, streamed.stream) == ("gemini-2.5-pro", True)
    assert whole.turns == streamed.turns


def test_a_resend_may_differ_in_streaming(parse) -> None:
    assert parse("gemini").approval_digest == parse("gemini-stream").approval_digest
    assert parse("gemini", labels={"a": "b"}).approval_digest == parse("gemini").approval_digest


@pytest.mark.parametrize("spelled", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("inner", ["maxOutputTokens", "max_output_tokens"])
def test_both_spellings_are_read(parse, spelled, inner) -> None:
    assert parse("gemini", **{spelled: {inner: 77}}).max_output_tokens == 77


@pytest.mark.parametrize("odd", ["generationConfig_", "generation__config", "Generation_Config"])
def test_what_is_in_neither_spelling_is_another_field(parse, odd: str) -> None:
    call = parse("gemini", **{odd: {"maxOutputTokens": 5}})

    assert call.max_output_tokens is None
    assert call.unknown_parameters == (odd,)


@pytest.mark.parametrize(
    ("tool", "offered", "served"),
    [
        ({"functionDeclarations": [{"name": "a"}, {"name": "b"}]}, ("a", "b"), ()),
        ({"function_declarations": [{"name": "a"}]}, ("a",), ()),
        ({"googleSearch": {}}, (), ("google_search",)),
        ({"google_search": {}}, (), ("google_search",)),
        ({"googleSearchRetrieval": {}}, (), ("google_search",)),
        ({"codeExecution": {}}, (), ("code_execution",)),
        ({"urlContext": {}}, (), ("url_context",)),
        ({"computerUse": {}}, ("computer_use",), ()),
    ],
)
def test_tools_are_run_by_the_client_or_by_the_provider(parse, tool, offered, served) -> None:
    call = parse("gemini", tools=[tool])

    assert (call.tools_offered, call.server_tools) == (offered, served)


@pytest.mark.parametrize(
    ("given", "opaque"),
    [
        ({}, None),
        ({"cachedContent": "cachedContents/1"}, "cachedContent"),
        ({"cached_content": "cachedContents/1"}, "cachedContent"),
        ({"contents": parts({"fileData": {"fileUri": "gs://x"}})}, "fileData part"),
        ({"contents": parts({"file_data": {"file_uri": "gs://x"}})}, "fileData part"),
        ({"contents": parts({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})}, None),
        ({"contents": parts({"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}})}, None),
        (
            {"contents": parts({"inline_data": {"mime_type": "video/mp4", "data": "AAAA"}})},
            "video/mp4 data",
        ),
        (
            {"contents": parts({"inlineData": {"mimeType": "application/pdf", "data": "A"}})},
            "application/pdf data",
        ),
        ({"contents": parts({"novelty": 1})}, "novelty part"),
        (
            {
                "contents": parts(
                    {
                        "functionResponse": {
                            "name": "f",
                            "response": {},
                            "parts": [{"inlineData": {"mimeType": "application/pdf", "data": "A"}}],
                        }
                    }
                )
            },
            "application/pdf data",
        ),
        ({"tools": [{"computerUse": {}}]}, "the built-in tool computerUse"),
    ],
)
def test_input_that_is_not_in_the_bytes_is_opaque(parse, given, opaque) -> None:
    assert parse("gemini", **given).opaque_input == opaque


@pytest.mark.parametrize(
    ("given", "features"),
    [
        ({}, set()),
        (
            {"contents": parts({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})},
            {"vision"},
        ),
        (
            {"contents": parts({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}})},
            {"audio_in"},
        ),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 100}}}, {"reasoning"}),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, set()),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, {"image_out"}),
        ({"generation_config": {"response_modalities": ["AUDIO"]}}, {"audio_out"}),
    ],
)
def test_features_are_seen(parse, given, features) -> None:
    assert parse("gemini", **given).features == features


def test_candidates_are_choices(parse) -> None:
    assert parse("gemini", generationConfig={"candidateCount": 4}).choices == 4


def test_system_and_contents_are_the_prompt(parse) -> None:
    call = parse("gemini", systemInstruction={"parts": [{"text": "be kind"}]})

    assert call.prompt == "be kind\nhi"


def test_an_image_in_the_system_instruction_is_counted_in_the_head(parse) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    plain = parse("gemini", systemInstruction={"parts": [{"text": "x"}]})
    seen = parse("gemini", systemInstruction={"parts": [{"text": "x"}, image]})

    assert seen.head_bound_tokens > plain.head_bound_tokens + 1000


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro"),
        ("/v1beta/tunedModels/mine-1:generateContent", "tunedModels/mine-1"),
        ("/v1beta/models", None),
    ],
)
def test_the_model_is_read_from_the_path(path, model) -> None:
    assert gemini.model_in(path) == model


def test_the_model_in_the_path_can_be_changed() -> None:
    path = "/v1beta/models/alias:streamGenerateContent"

    assert (
        gemini.with_model(path, "gemini-2.5-flash")
        == "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    )
    with pytest.raises(WireError):
        gemini.with_model("/v1beta/models", "x")
