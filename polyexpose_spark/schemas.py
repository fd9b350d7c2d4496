"""The JSON Schemas of conf/schema/, made from the models: an editor completes a contract or a profile with them.

`python -m polyexpose_spark.schemas DIR` writes them; a test compares the committed files with the models.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from polyexpose_spark import odcs
from polyexpose_spark.config import Config
from polyexpose_spark.receipt import Receipt
from polyexpose_spark.workspace import address_models, settings_models

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """Return file name -> JSON text of every published schema."""
    made = {"config": _config(), "receipt": Receipt.model_json_schema(by_alias=True), "contract": _contract()}
    return {f"{name}.schema.json": json.dumps(schema, indent=2) + "\n" for name, schema in made.items()}


def _config() -> dict[str, Any]:
    """Return the schema of conf/*.yaml; every key may be left out, for a profile only adds to the base."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    ports = {}
    for mode, model in address_models().items():
        definitions |= _inlined(model, definitions)
        ports[mode] = {"$ref": f"#/$defs/{model.__name__}"}
    schema["properties"]["ports"] = {"type": "object", "properties": ports, "additionalProperties": False}
    for part in (schema, *definitions.values()):
        part.pop("required", None)
    return {"$schema": _DIALECT, **schema}


def _contract() -> dict[str, Any]:
    """Return the published ODCS schema with our customProperties values described."""
    published = files("open_data_contract_standard") / "schema.json"
    schema: dict[str, Any] = json.loads(published.read_text(encoding="utf-8"))
    definitions = schema["$defs"]
    modes = []
    for mode, model in settings_models().items():
        definitions |= _inlined(model, definitions)
        described = definitions[model.__name__]
        described["properties"] = {"mode": {"const": mode}, **described["properties"]}
        described["required"] = ["mode", *described.get("required", [])]
        modes.append({"$ref": f"#/$defs/{model.__name__}"})
    values: dict[str, Any] = {"port": {"oneOf": modes}}
    ours: dict[str, type[BaseModel]] = {"masking": odcs.Masking, "state": odcs.State, "policies": odcs.RowFilter}
    for name, value_model in ours.items():
        definitions |= _inlined(value_model, definitions)
        values[name] = {"$ref": f"#/$defs/{value_model.__name__}"}
    values["policies"] = {"type": "array", "items": values["policies"]}
    definitions["CustomProperty"]["allOf"] = [
        {
            "if": {
                "properties": {"vendor": {"const": odcs.VENDOR}, "property": {"const": name}},
                "required": ["vendor", "property"],
            },
            "then": {"properties": {"value": value}},
        }
        for name, value in values.items()
    ]
    return schema


def _inlined(model: type[BaseModel], taken: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of a model, itself included."""
    schema = model.model_json_schema(by_alias=True)
    made = {name: each for name, each in schema.pop("$defs", {}).items() if name not in taken}
    return made | {model.__name__: schema}


def write(folder: Path) -> None:
    """Write every schema into a folder."""
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
