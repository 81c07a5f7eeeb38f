from __future__ import annotations

from tollkeeper.wire.document import canonical
from tollkeeper.wire.schema import unrolled_tokens


def grown(schema: object) -> int:
    return unrolled_tokens(schema, canonical(schema))


def test_a_schema_without_references_does_not_grow() -> None:
    assert grown({"properties": {"ref": {"type": "string"}}, "$defs": {"a": {"x": 1}}}) == 0


def test_each_reference_counts_what_it_refers_to() -> None:
    definition = {"type": "string", "description": "d" * 100}
    one = {"$defs": {"a": definition}, "properties": {"x": {"$ref": "#/$defs/a"}}}
    two = {
        "$defs": {"a": definition},
        "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/a"}},
    }

    assert grown(one) >= len(canonical(definition))
    assert grown(two) == 2 * grown(one)


def test_definitions_that_double_each_other_are_counted_unrolled() -> None:
    definitions: dict[str, object] = {"d0": {"description": "x" * 10}}
    for i in range(1, 30):
        definitions[f"d{i}"] = {
            "a": {"$ref": f"#/$defs/d{i - 1}"},
            "b": {"$ref": f"#/$defs/d{i - 1}"},
        }

    assert grown({"$defs": definitions, "items": {"$ref": "#/$defs/d29"}}) > 10 * 2**29


def test_recursive_and_missing_definitions_end() -> None:
    schema = {
        "$defs": {"node": {"children": {"items": {"$ref": "#/$defs/node"}}}},
        "root": {"$ref": "#/$defs/node"},
        "other": {"$ref": "#/$defs/missing"},
    }

    assert 0 < grown(schema) < 1000


def test_references_make_the_bound_of_a_call_larger(parse) -> None:
    definitions = {"big": {"description": "x" * 1000}}
    refs = {f"p{i}": {"$ref": "#/$defs/big"} for i in range(10)}
    parameters = {"$defs": definitions, "properties": refs}
    call = parse(
        "chat", tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    )

    assert call.head_bound_tokens > 10_000
