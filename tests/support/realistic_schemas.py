"""JSON schemas as callers write them: records, tool arguments, answers in parts. All bounded, so that answers end."""

from collections.abc import Collection
from typing import Any

Schema = dict[str, Any]


def record(properties: Schema, more: Schema | None = None, /, *, optional: Collection[str] = ()) -> Schema:
    """An object with these properties and no others; all required but the optional ones. `more` are other keywords."""
    required = [name for name in properties if name not in optional]
    closed = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {**closed, **(more or {})}


def text(longest: int, /, **more: Any) -> Schema:
    """A string of at most so many characters."""
    return {"type": "string", "maxLength": longest, **more}


def whole(least: int, most: int, /) -> Schema:
    """An integer of a range."""
    return {"type": "integer", "minimum": least, "maximum": most}


def list_of(items: Schema, most: int, /, *, least: int = 0) -> Schema:
    """An array of bounded length."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def one_of(*values: Any) -> Schema:
    """One of these values."""
    return {"enum": list(values)}


NAME = {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"}
WORD = {"type": "string", "pattern": "^[a-z]{2,8}$"}
YES_NO = {"type": "boolean"}
MONEY = {"type": "number", "minimum": 0, "maximum": 9999, "multipleOf": 0.01}
DATE = {"type": "string", "format": "date"}
EMAIL = {"type": "string", "format": "email", "maxLength": 24}
UUID = {"type": "string", "format": "uuid"}
CURRENCY = one_of("EUR", "USD", "GBP", "JPY")
ADDRESS = record({"street": text(16), "city": NAME, "postcode": {"type": "string", "pattern": "^[0-9]{5}$"}})
POINT = record({"x": whole(-90, 90), "y": whole(-180, 180)})

REALISTIC: dict[str, Schema] = {
    "person": record({"name": NAME, "age": whole(0, 120), "email": EMAIL}, optional=("email",)),
    "postal address": ADDRESS,
    "address book": list_of(record({"name": NAME, "address": ADDRESS}), 2, least=1),
    "invoice": record(
        {
            "number": {"type": "string", "pattern": "^INV-[0-9]{4}$"},
            "issued": DATE,
            "customer": {"$ref": "#/$defs/party"},
            "lines": list_of(record({"item": text(10), "quantity": whole(1, 99), "price": MONEY}), 2, least=1),
            "currency": CURRENCY,
            "paid": YES_NO,
        },
        {"$defs": {"party": record({"name": NAME, "vat": {"type": ["string", "null"], "pattern": "^DE[0-9]{9}$"}})}},
    ),
    "weather tool": record({"city": text(12), "unit": one_of("celsius", "fahrenheit"), "days": whole(1, 7)}),
    "search tool": record({"query": text(20), "limit": whole(1, 50), "by": one_of("date", "rank")}, optional=("by",)),
    "e-mail tool": record({"to": list_of(EMAIL, 2, least=1), "subject": text(20), "body": text(40), "urgent": YES_NO}),
    "calendar event": record(
        {"title": text(16), "start": {"type": "string", "format": "date-time"}, "minutes": whole(5, 480)}
    ),
    "command": {
        "oneOf": [
            record({"kind": {"const": "move"}, "to": POINT}),
            record({"kind": {"const": "say"}, "words": text(20)}),
            record({"kind": {"const": "stop"}}),
        ]
    },
    "shape": {
        "anyOf": [
            record({"type": {"const": "circle"}, "radius": whole(1, 100), "center": POINT}),
            record({"type": {"const": "polygon"}, "points": list_of(POINT, 3, least=3)}),
        ]
    },
    "sentiment": record({"label": one_of("positive", "neutral", "negative"), "score": whole(0, 100)}),
    "entities": record({"entities": list_of(record({"text": text(10), "label": one_of("PER", "ORG", "LOC")}), 3)}),
    "reasoned answer": record({"steps": list_of(text(24), 3, least=1), "answer": text(12)}),
    "multiple choice question": record(
        {"question": text(30), "options": list_of(text(10), 4, least=4), "correct": whole(0, 3)}
    ),
    "recipe": record(
        {
            "name": text(16),
            "servings": whole(1, 12),
            "ingredients": list_of(record({"name": WORD, "grams": whole(1, 999)}), 3, least=1),
            "steps": list_of(text(20), 2, least=1),
        }
    ),
    "product": record(
        {"sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{3}$"}, "price": MONEY, "tags": list_of(WORD, 3)}
    ),
    "order status": record({"id": UUID, "status": one_of("new", "paid", "shipped"), "total": MONEY}),
    "user account": record(
        {"id": UUID, "login": WORD, "roles": list_of(one_of("admin", "editor", "viewer"), 2, least=1), "active": YES_NO}
    ),
    "geographic feature": record(
        {
            "type": {"const": "Feature"},
            "geometry": record(
                {
                    "type": {"const": "Point"},
                    "coordinates": {
                        "type": "array",
                        "prefixItems": [whole(-180, 180), whole(-90, 90)],
                        "items": False,
                        "minItems": 2,
                    },
                }
            ),
            "properties": {"type": "object", "additionalProperties": text(6), "maxProperties": 2},
        }
    ),
    "server settings": record(
        {
            "host": {"type": "string", "format": "hostname", "maxLength": 20},
            "address": {"type": "string", "format": "ipv4"},
            "port": whole(1, 65535),
            "tls": record({"enabled": YES_NO, "versions": list_of(one_of("1.2", "1.3"), 2)}),
        },
        optional=("tls",),
    ),
    "log line": record(
        {"time": {"type": "string", "format": "time"}, "level": one_of("debug", "info", "error"), "message": text(24)}
    ),
    "feature flags": {"type": "object", "patternProperties": {"^[a-z]{2,6}$": YES_NO}, "additionalProperties": False,
                      "maxProperties": 3},
    "scores by name": {"type": "object", "additionalProperties": whole(0, 10), "maxProperties": 3, "minProperties": 1},
    "linked list": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": record({"value": whole(0, 9), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}})
        },
    },
    "file tree": record({"name": WORD, "children": list_of({"$ref": "#"}, 1)}, optional=("children",)),
    "arithmetic": {
        "$ref": "#/$defs/expression",
        "$defs": {
            "expression": {"anyOf": [whole(0, 9), {"$ref": "#/$defs/negated"}]},
            "negated": record({"negate": {"$ref": "#/$defs/expression"}}),
        },
    },
    "chess move": {"type": "string", "pattern": "^[KQRBN]?[a-h]?[1-8]?x?[a-h][1-8](?:=[QRBN])?[+#]?$"},
    "semantic version": {"type": "string", "pattern": r"^(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})$"},
    "colour": {"anyOf": [one_of("red", "green", "blue"), {"type": "string", "pattern": "^#[0-9a-f]{6}$"}]},
    "matrix": list_of(list_of(whole(-9, 9), 3, least=3), 2, least=2),
    "employee": {
        "allOf": [
            {"$ref": "#/$defs/person"},
            {"properties": {"salary": whole(0, 99999), "boss": {"type": ["string", "null"], "maxLength": 8}}},
        ],
        "required": ["salary"],
        "$defs": {
            "person": {
                "type": "object",
                "properties": {"name": NAME, "salary": True, "boss": True},
                "required": ["name"],
                "additionalProperties": False,
            }
        },
    },
    "payment": record(
        {
            "amount": MONEY,
            "method": {
                "oneOf": [
                    record({"kind": {"const": "card"}, "last4": {"type": "string", "pattern": "^[0-9]{4}$"}}),
                    record({"kind": {"const": "transfer"}, "iban": {"type": "string", "pattern": "^DE[0-9]{20}$"}}),
                ]
            },
        }
    ),
    "at least one contact": record({"phone": {"type": "string", "pattern": r"^\+[0-9]{6,12}$"}, "email": EMAIL},
                                   {"minProperties": 1}, optional=("phone", "email")),
    "survey": record({f"question{n}": whole(1, 5) for n in range(1, 11)}),
    "nullable fields": record({name: {"anyOf": [schema, {"type": "null"}]} for name, schema in
                               {"born": DATE, "city": NAME, "height": whole(40, 250)}.items()}),
    "translations": record({code: text(12) for code in ("de", "fr", "日本", "é\"\\")}),
    "settings with defaults": record(
        {
            "theme": {"enum": ["light", "dark"], "default": "dark", "title": "Theme", "description": "of the pages"},
            "size": {**whole(8, 32), "examples": [12], "$comment": "in points"},
        }
    ),
    "sql condition": record(
        {"column": WORD, "operator": one_of("=", "<", ">", "<=", ">=", "<>"), "value": {"type": ["integer", "null"],
                                                                                       "minimum": 0, "maximum": 99}}
    ),
    "deep": record({"a": record({"b": record({"c": record({"d": record({"e": record({"f": one_of(1, 2)})})})})})}),
}  # fmt: skip
"""What is asked for → its schema."""
