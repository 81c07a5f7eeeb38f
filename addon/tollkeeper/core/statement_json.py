"""Statements as the providers' APIs answer them: a page, a list of pages, or pages line by line.

openai-costs, openai-usage
    ``GET /v1/organization/costs`` and ``/v1/organization/usage/completions``: buckets with
    ``start_time`` in seconds, amounts in USD.
    Source: https://platform.openai.com/docs/api-reference/usage
anthropic-costs, anthropic-usage
    ``GET /v1/organizations/cost_report`` and ``/usage_report/messages``: buckets with ``starting_at``,
    **amounts in cents**, as decimal text.
    Source: https://platform.claude.com/docs/en/api/admin/cost_report
openrouter-activity
    ``GET /api/v1/activity``: a line a day, model and endpoint, days in UTC, ``usage`` in USD.
    Source: https://openrouter.ai/docs/api/api-reference/analytics/get-user-activity
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from tollkeeper.core.statement import Figures, Key, Statement, day_of, exact, same_model
from tollkeeper.errors import StatementError

_CENTS: Final = Decimal(100)
_APART: Final = (
    "Costs of tools (web search …) are rows of their own; here they are part of the model's."
)
_MORE: Final = (
    "The last page says that there are more: fetch all pages, the rest is not in this file."
)


def read_json(text: str, path: str) -> Statement:
    """A statement from a JSON file.

    Raises:
        StatementError: With line and column where it is no JSON, with the way to the value elsewhere.
    """
    statement = Statement("")
    where, more = path, False
    try:
        for where, page in _pages(text, path):
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise StatementError(f"{where}: expected a page with a list `data`")
            more = bool(page.get("has_more"))
            for number, bucket in enumerate(page["data"]):
                where_bucket = f"{where}.data[{number}]"
                _bucket(statement, bucket, where_bucket)
    except RecursionError as e:
        raise StatementError(f"{where}: nested too deep to be a statement") from e
    if more:
        statement.notes.append(_MORE)
    if not statement.kind:
        raise StatementError(f"{path}:1:1: no known export: nothing in it tells its format")
    return statement


def _pages(text: str, path: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as e:
        if e.msg != "Extra data" or e.lineno == 1:
            raise StatementError(f"{path}:{e.lineno}:{e.colno}: no JSON: {e.msg}") from e
        yield from _lines(text, path)
        return
    except ValueError as e:
        raise StatementError(f"{path}: a number in it has too many digits") from e
    if isinstance(whole, list):
        yield from ((f"{path}: page {n}", page) for n, page in enumerate(whole, 1))
    else:
        yield f"{path}: $", whole


def _lines(text: str, path: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                page = json.loads(line, parse_float=Decimal)
            except json.JSONDecodeError as e:
                raise StatementError(f"{path}:{number}:{e.colno}: no JSON: {e.msg}") from e
            except ValueError as e:
                raise StatementError(f"{path}:{number}: a number has too many digits") from e
            yield f"{path}:{number}: $", page


def _bucket(statement: Statement, bucket: Any, where: str) -> None:
    if not isinstance(bucket, dict):
        raise StatementError(f"{where}: expected an object, found {_short(bucket)}")
    if "model_permaslug" in bucket or "byok_usage_inference" in bucket:
        _openrouter(statement, bucket, where)
        return
    time = next((name for name in ("start_time", "starting_at") if name in bucket), None)
    results = bucket.get("results", bucket.get("result"))
    if time is None or not isinstance(results, list):
        raise StatementError(
            f"{where}: expected a bucket of usage or costs (`start_time` or `starting_at`, `results`)"
        )
    day = _day(bucket[time], f"{where}.{time}")
    statement.covers(day)
    for number, result in enumerate(results):
        at = f"{where}.results[{number}]"
        if not isinstance(result, dict):
            raise StatementError(f"{at}: expected an object, found {_short(result)}")
        kind, read = _reader(time, result)
        if statement.kind not in ("", kind, kind.partition("-")[0]):
            raise StatementError(f"{at}: {kind} among {statement.kind}: compare one at a time")
        statement.kind = kind
        statement.add(*read(result, day, at))
        apart = result.get("model") is None and result.get("cost_type") not in (None, "tokens")
        if apart and _APART not in statement.notes:
            statement.notes.append(_APART)
    if not results and not statement.kind:
        statement.kind = "openai" if time == "start_time" else "anthropic"


type Reader = Callable[[Mapping[str, Any], str, str], tuple[Key, Figures]]


def _reader(time: str, result: Mapping[str, Any]) -> tuple[str, Reader]:
    costs = "amount" in result
    if time == "start_time":
        return ("openai-costs", _openai_costs) if costs else ("openai-usage", _openai_usage)
    return ("anthropic-costs", _anthropic_costs) if costs else ("anthropic-usage", _anthropic_usage)


def _openai_costs(result: Mapping[str, Any], day: str, where: str) -> tuple[Key, Figures]:
    amount = result["amount"]
    if not isinstance(amount, dict):
        raise StatementError(f"{where}.amount: expected an object, found {_short(amount)}")
    _demand_dollars(amount.get("currency"), f"{where}.amount.currency")
    item = _text(result.get("line_item"), f"{where}.line_item").partition(",")[0]
    cost = _number(amount.get("value"), f"{where}.amount.value")
    return Key("openai", day, same_model(item)), Figures(cost_usd=cost)


def _openai_usage(result: Mapping[str, Any], day: str, where: str) -> tuple[Key, Figures]:
    figures = Figures(
        requests=_count(result, where, "num_model_requests"),
        input_tokens=_count(result, where, "input_tokens"),
        output_tokens=_count(result, where, "output_tokens"),
    )
    return Key("openai", day, same_model(_text(result.get("model"), f"{where}.model"))), figures


def _anthropic_costs(result: Mapping[str, Any], day: str, where: str) -> tuple[Key, Figures]:
    _demand_dollars(result.get("currency"), f"{where}.currency")
    cost = _number(result["amount"], f"{where}.amount") / _CENTS
    model = _text(result.get("model"), f"{where}.model")
    named = model or _text(result.get("cost_type"), f"{where}.cost_type")
    return Key("anthropic", day, same_model(named)), Figures(cost_usd=cost)


def _anthropic_usage(result: Mapping[str, Any], day: str, where: str) -> tuple[Key, Figures]:
    written = result.get("cache_creation") or {}
    if not isinstance(written, dict):
        raise StatementError(f"{where}.cache_creation: expected an object, found {_short(written)}")
    parts = [
        _count(result, where, "uncached_input_tokens"),
        _count(result, where, "cache_read_input_tokens"),
        *(_count(written, f"{where}.cache_creation", name) for name in written),
    ]
    figures = Figures(
        input_tokens=sum(part or 0 for part in parts),
        output_tokens=_count(result, where, "output_tokens"),
    )
    return Key("anthropic", day, same_model(_text(result.get("model"), f"{where}.model"))), figures


def _openrouter(statement: Statement, item: Mapping[str, Any], where: str) -> None:
    statement.kind = "openrouter-activity"
    day = _day(item.get("date"), f"{where}.date")
    name = _text(item.get("model_permaslug") or item.get("model"), f"{where}.model")
    figures = Figures(
        cost_usd=_number(item.get("usage"), f"{where}.usage"),
        requests=_count(item, where, "requests"),
        input_tokens=_count(item, where, "prompt_tokens"),
        output_tokens=_count(item, where, "completion_tokens"),
    )
    statement.add(Key("openrouter", day, same_model(name)), figures)


def _day(value: Any, where: str) -> str:
    try:
        return day_of(str(value).partition(".")[0] if isinstance(value, Decimal) else str(value))
    except (ValueError, OverflowError) as e:
        raise StatementError(f"{where}: expected a time, found {_short(value)}") from e


def _number(value: Any, where: str) -> Decimal:
    number = exact(value)
    if number is None:
        raise StatementError(f"{where}: expected an amount, found {_short(value)}")
    return number


def _count(item: Mapping[str, Any], where: str, name: str) -> int | None:
    value = item.get(name)
    if value is None:
        return None
    number = None if isinstance(value, str) else exact(value)
    if number is None or number < 0:
        raise StatementError(f"{where}.{name}: expected a count, found {_short(value)}")
    return int(number)


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise StatementError(f"{where}: expected text, found {_short(value)}")
    return value


def _demand_dollars(currency: Any, where: str) -> None:
    if not isinstance(currency, str) or currency.lower() != "usd":
        raise StatementError(f"{where}: only USD can be compared, found {_short(currency)}")


def _short(value: Any) -> str:
    return repr(value)[:60]
