"""``handfast-policy build SOURCE [-o COMPONENT]``: from a Python module to a component.

The component exports the hooks that the module defines, and imports what needs a grant only where the module, or one that it
imports, imports it; WASI, which CPython imports, needs no grant, since the gateway stands in for it. componentize-py runs the module's top level once, here, and puts the interpreter as it then stands into
the component: what is imported and prepared there costs nothing later, but sees neither the gateway nor a configuration.
"""

import argparse
import ast
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tempfile
from modulefinder import ModuleFinder
from pathlib import Path

HOOKS = ("select", "validate", "admit", "configure")
GRANTED = {
    "handfast_policy.counter": "handfast:policy/counter@1.0.0",
    "handfast_policy.key_value": "handfast:policy/key-value@1.0.0",
    "handfast_policy.http": "wasi:http/outgoing-handler@0.2.0",
}

EXPORTS = {
    "select": """
class Select(exports.Select):
    def select(self, connection, hello):
        return handfast_policy._select(policy.select, select, connection, hello)
""",
    "validate": """
class Validate(exports.Validate):
    def validate(self, connection, hello, chain):
        return handfast_policy._validate(policy.validate, validate, Err, connection, hello, chain)
""",
    "admit": """
class Admit(exports.Admit):
    def admit(self, certificate):
        return handfast_policy._admit(policy.admit, Err, certificate)
""",
    "configure": """
class Configure(exports.Configure):
    def configure(self, config):
        return handfast_policy._configure(policy.configure, Err, config)
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="handfast-policy", description="Build Handfast policies")
    build = parser.add_subparsers(required=True).add_parser("build", help="make a component of a Python module")
    build.add_argument("source", type=Path, help="the policy, a Python file")
    build.add_argument("-o", "--output", type=Path, help="the component to write; by default beside the source")
    arguments = parser.parse_args()
    source = arguments.source.resolve()
    output = (arguments.output or source.with_suffix(".wasm")).resolve()
    try:
        hooks = hooks_of(source)
        build_component(source, hooks, output)
    except BuildError as error:
        sys.exit(str(error))
    print(f"{os.path.relpath(output)}: {', '.join(hooks)}; {output.stat().st_size} bytes")


class BuildError(Exception):
    pass


def hooks_of(source: Path) -> list[str]:
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"), str(source))
    except OSError as error:
        raise BuildError(f"cannot read {source}: {error.strerror}") from None
    except SyntaxError as error:
        raise BuildError(f"{source}:{error.lineno}: {error.msg}") from None
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    hooks = [hook for hook in HOOKS if hook in defined]
    if hooks in ([], ["configure"]):
        raise BuildError(f"{source} defines no hook: it needs a function `select`, `validate` or `admit`")
    return hooks


def build_component(source: Path, hooks: list[str], output: Path) -> None:
    if not source.stem.isidentifier():
        raise BuildError(f"{source.stem} is no name for a Python module")
    with tempfile.TemporaryDirectory(prefix="handfast-policy-") as folder:
        work = Path(folder)
        interface = work / "wit/deps/handfast"
        interface.mkdir(parents=True)
        sdk = importlib.resources.files(__package__)
        (interface / "policy.wit").write_text((sdk / "policy.wit").read_text(encoding="utf-8"), encoding="utf-8")
        for package in ("clocks", "io", "http"):
            copied = work / "wit/deps" / package
            copied.mkdir()
            text = (sdk / "wasi" / f"{package}.wit").read_text(encoding="utf-8")
            (copied / f"{package}.wit").write_text(text, encoding="utf-8")
        (work / "wit/world.wit").write_text(world(source, hooks), encoding="utf-8")

        app = work / "app"
        app.mkdir()
        shutil.copytree(Path(__file__).parent, app / "handfast_policy", ignore=shutil.ignore_patterns("__pycache__"))
        entry = "import handfast_policy\nfrom componentize_py_types import Err\nfrom wit_world import exports\n"
        entry += "".join(f"from wit_world.exports import {hook}\n" for hook in hooks if hook in ("select", "validate"))
        entry += f"import {source.stem} as policy\n" + "".join(EXPORTS[hook] for hook in hooks)
        (app / "handfast_entry.py").write_text(entry, encoding="utf-8")

        # Into the output's folder, then by a rename: a gateway may be watching the file.
        partial = output.with_name(f"{output.name}.{os.getpid()}")
        done = subprocess.run(
            [
                Path(sys.executable).with_name("componentize-py"), "-q", "-d", work / "wit", "-w", "policy",
                "componentize", "handfast_entry", "-p", app, "-p", source.parent, "-o", partial,
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise BuildError(told(done.stderr or done.stdout, source) or "componentize-py failed")
        os.replace(partial, output)


def told(said: str, source: Path) -> str:
    """What componentize-py said, without its own backtraces, and with the files as their author knows them."""
    said = said.partition("\nStack backtrace:")[0]
    # Its script fails with what the interpreter in the component said.
    said = said.partition("AssertionError: ")[2] or said
    before, _, cause = said.partition("\nCaused by:\n")
    if cause.strip() in before:
        said = before
    said = re.sub(r'  File "/0/handfast_entry\.py".*\n(?:    .*\n)*', "", said)
    return said.replace('File "/1/', f'File "{source.parent}/').strip()


def world(source: Path, hooks: list[str]) -> str:
    """A world with what the policy imports and exports, and nothing else."""
    finder = ModuleFinder([str(source.parent), str(Path(__file__).parent.parent)])
    finder.run_script(str(source))
    lines = ["package handfast:built;", "world policy {", "    include handfast:policy/imports@1.0.0;"]
    # `from handfast_policy import counter` is a module that is found, too.
    lines += [
        f"    import {interface};" for module, interface in GRANTED.items() if module in finder.modules
    ]
    lines += [f"    export handfast:policy/{hook}@1.0.0;" for hook in hooks]
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    main()
