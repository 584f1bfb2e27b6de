"""A configuration chooses classes by their kind, whoever wrote them and whenever; the rest is refused in words."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from importlib.metadata import EntryPoint
from typing import Annotated, Literal

import pytest
from pydantic import Field, TypeAdapter

import sim
from sim import schema
from sim.schema import Choice, Config, ConfigError, OneOf, kinds_of, load_plugins, parse_config


class Shape(Choice):
    """A family of kinds of this test."""


class Square(Shape):
    kind: Literal["square"] = "square"
    side_m: float = Field(1.0, gt=0)


class Round(Shape):
    """No kind of its own: not concrete."""

    radius_m: float = Field(gt=0)


class Circle(Round):
    kind: Literal["circle"] = "circle"


class Drawing(Config):
    shape: OneOf[Shape]
    more: dict[str, OneOf[Shape]] = {}
    last: OneOf[Shape] | None = None


def drawing(**keys) -> Drawing:
    return parse_config(Drawing, keys)


def refusal(**keys) -> str:
    with pytest.raises(ConfigError) as error:
        drawing(**keys)
    return str(error.value)


def test_a_mapping_becomes_the_class_of_its_kind_and_an_instance_stays_what_it_is():
    assert drawing(shape={"kind": "square", "side_m": 2}).shape == Square(side_m=2)
    mine = Circle(radius_m=1)
    made = drawing(shape=mine, more={"a": {"kind": "square"}}, last=mine)
    assert made.shape is mine and made.last is mine and made.more == {"a": Square()}


def test_a_class_counts_that_is_younger_than_the_config():
    class Triangle(Shape):
        kind: Literal["triangle"] = "triangle"

    assert isinstance(drawing(shape={"kind": "triangle"}).shape, Triangle)

    def run_the_cell_again():
        class Triangle(Shape):
            kind: Literal["triangle"] = "triangle"
            height_m: float = 1.0

        Triangle.__qualname__ = first.__qualname__
        return Triangle

    first = Triangle
    second = run_the_cell_again()
    assert type(drawing(shape={"kind": "triangle"}).shape) is second, "a cell that is run again replaces its class"


def test_a_variant_that_inherits_its_kind_is_for_python_only():
    class Tilted(Square):
        pass

    assert kinds_of(Shape)["square"] is Square
    assert type(drawing(shape=Tilted()).shape) is Tilted


def test_two_classes_that_claim_one_kind_are_refused_by_name():
    class Base(Choice):
        pass

    class One(Base):
        kind: Literal["same"] = "same"

    class Two(Base):
        kind: Literal["same"] = "same"

    with pytest.raises(ConfigError, match=r"kind = 'same': is claimed by both .*\.One and .*\.Two"):
        kinds_of(Base)


SQUARE, CIRCLE = {"kind": "square"}, {"kind": "circle", "radius_m": 1}
REFUSALS = {
    "a mistyped kind": ({"shape": {"kind": "sqare"}}, r"shape.kind = 'sqare': is not one of .*; did you mean square\?"),
    "a foreign kind": ({"shape": {"kind": "mine"}}, "shape.kind = 'mine': is not one of circle, square"),
    "no kind": ({"shape": {"side_m": 2}}, "shape.kind: is required; one of circle, square"),
    "a kind that is no word": ({"shape": {"kind": 3}}, "shape.kind = 3: is not one of circle, square"),
    "a value of the kind": ({"shape": SQUARE | {"side_m": 0}}, "shape.side_m = 0: should be greater than 0"),
    "a missing value of the kind": ({"shape": {"kind": "circle"}}, "shape.radius_m: is required"),
    "in a mapping": ({"shape": SQUARE, "more": {"a": SQUARE | {"side_m": -1}}}, "more.a.side_m = -1: should"),
    "a mistyped key": (
        {"shape": CIRCLE | {"radus_m": 1}},
        r"shape.radus_m = 1: .*; did you mean shape.radius_m",
    ),
    "one in a mapping": ({"shape": SQUARE, "more": {"a": SQUARE | {"side": 1}}}, r"did you mean more.a.side_m\?"),
    "one at the top": ({"shap": 1, "shape": SQUARE}, r"shap = 1: is not a known key; did you mean shape\?"),
    "a key like none": ({"shape": SQUARE | {"zzz": 1}}, "shape.zzz = 1: is not a known key$"),
    "no mapping": ({"shape": 3}, "shape = 3: must be a mapping with a kind or a Shape, but is of type int"),
    "another family": ({"shape": Config()}, "must be a mapping with a kind or a Shape, but is of type Config"),
}


@pytest.mark.parametrize(("keys", "words"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_meant_is_said_in_one_line(keys, words):
    message = refusal(**keys)
    assert re.search(words, message), message
    assert "\n" not in message


def test_numbers_too_large_or_too_small_to_reckon_with_are_refused_wherever_they_are():
    class Sizes(Config):
        n: int = 1
        x: float = 1.0
        many: dict[str, tuple[float, ...]] = {}

    for keys in ({"n": 10**15}, {"x": -1e-15}, {"x": 0}, {"many": {"a": [0.0, 1e15]}}):
        assert parse_config(Sizes, keys)
    for keys, key in (({"n": 10**400}, "n"), ({"x": 1e16}, "x"), ({"x": 5e-324}, "x"),
                      ({"many": {"a": [1.0, -1e16]}}, "many.a.1")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^{key} = .*: must be 0, or between 1e-15 and 1e\\+15 in size$"):
            parse_config(Sizes, keys)


def test_a_default_kind_stands_where_none_is_named():
    class Drink(Choice):
        default_kind = "water"

    class Water(Drink):
        kind: Literal["water"] = "water"
        litres: float = 1.0

    class Glass(Config):
        drink: OneOf[Drink]

    assert parse_config(Glass, {"drink": {"litres": 2}}).drink == Water(litres=2)
    with pytest.raises(ConfigError, match=r"drink.litrs = 2: is not a known key; did you mean drink.litres\?"):
        parse_config(Glass, {"drink": {"litrs": 2}})


def test_a_config_with_choices_is_dumped_whole_and_read_back():
    made = drawing(shape={"kind": "circle", "radius_m": 3}, more={"a": {"kind": "square"}})
    assert made.model_dump() == {
        "shape": {"kind": "circle", "radius_m": 3.0}, "more": {"a": {"kind": "square", "side_m": 1.0}}, "last": None,
    }  # fmt: skip
    assert parse_config(Drawing, json.loads(made.model_dump_json())) == made
    assert made.model_copy(update={"shape": Square()}).shape == Square()
    words = json.dumps(Drawing.model_json_schema())
    assert '"radius_m"' in words and '"side_m"' in words


# --- plugins -------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Installs a module of this text as a plugin for the time of a test."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        entries = [EntryPoint("extra", name, schema.PLUGINS)]
        monkeypatch.setattr(schema, "entry_points", lambda group: entries if group == schema.PLUGINS else [])
        load_plugins.cache_clear()

    yield install
    load_plugins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("plugged_")]:
        del sys.modules[name]


HEXAGON = """
from typing import Literal
from tests.unit.test_schema import Shape
class Hexagon(Shape):
    kind: Literal["hexagon"] = "hexagon"
"""


def test_a_kind_of_an_installed_package_is_found(installed):
    installed("plugged_shapes", HEXAGON)
    assert type(drawing(shape={"kind": "hexagon"}).shape).__module__ == "plugged_shapes"


def test_a_plugin_that_cannot_be_imported_is_named(installed):
    installed("plugged_broken", "import a_module_that_is_missing")
    with pytest.raises(ConfigError, match="plugin 'extra' of an installed package: cannot be imported: ModuleNotFound"):
        drawing(shape={"kind": "square"})


def configs(of=Config):
    for config in of.__subclasses__():
        yield config
        yield from configs(config)


def test_a_default_is_a_value_that_a_user_may_give():
    """Defaults are not validated where they are used: one outside its own bounds would be played."""
    for module in pkgutil.walk_packages(sim.__path__, "sim."):
        if not module.name.endswith(("__main__", "hot_path.build")):  # these act when they are imported
            importlib.import_module(module.name)
    fields = [
        (config, name, field)
        for config in set(configs())
        if config.__module__.startswith("sim.")
        for name, field in config.model_fields.items()
        if not field.is_required() and field.default_factory is None
    ]
    assert len(fields) > 500
    for config, name, field in fields:
        law = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        assert TypeAdapter(law).validate_python(field.default) == field.default, f"{config.__name__}.{name}"
