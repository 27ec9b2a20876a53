"""JSON schemas of clients: `response_format`, and the part of JSON Schema that answers are made to follow."""

from protocol.json_schema.check import check_schema
from protocol.json_schema.response_format import JsonSchemaFormat, ResponseFormat

__all__ = ["JsonSchemaFormat", "ResponseFormat", "check_schema"]
