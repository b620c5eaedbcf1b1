"""Commands of setuptools: compile msg/ and srv/ of a package with the generators of rosidl into one module.

One library with static dispatch to Fast DDS, and to the introspection that Jazzy's asks for as well, no
CMake: what pip needs. With other middlewares use colcon, whose CMakeLists.txt builds every type support
that the installation knows.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# service_msgs: the generated introspection event of every service
DEPENDENCIES = ("builtin_interfaces", "geometry_msgs", "sensor_msgs", "service_msgs", "std_msgs")
TYPESUPPORT = "rosidl_typesupport_fastrtps_c"
INTROSPECTION = "rosidl_typesupport_introspection_c"
# How Fast DDS's type support of a message answers who asks for another one: with its introspection, too.
_OWN = "get_message_typesupport_handle_function"
_HANDLE = re.compile(r"(static rosidl_message_type_support_t _(\w+)__type_support = {[^}]*?)" + _OWN)
_FIND = """\
const rosidl_message_type_support_t * {introspection}(void);

static const rosidl_message_type_support_t *
_{name}__find(const rosidl_message_type_support_t * handle, const char * identifier)
{{
  const rosidl_message_type_support_t * found = {own}(handle, identifier);
  return found ? found : {own}({introspection}(), identifier);
}}

"""


class MessageExtension(Extension):
    """The compiled messages of a package, under the name that rclpy imports; sources are generated later."""

    def __init__(self, package: str, folder: Path = ROOT, *, libraries_beside: bool = True) -> None:
        """Describe the package whose msg/ and srv/ lie in ``folder``.

        ``libraries_beside``: it is installed in the environment whose libraries it needs, and finds them from
        where it lies; otherwise by their absolute path.
        """
        super().__init__(f"{package}.{package}_s__rosidl_typesupport_c", sources=[], language="c++")
        self.package, self.folder, self.libraries_beside = package, folder, libraries_beside


def fail(problem: str) -> NoReturn:
    """End the build with one line: what was needed and what to do."""
    sys.exit(f"messages: {problem}")


def check_compilers() -> None:
    """Name a missing compiler before setuptools fails with a traceback."""
    for variable, usual in (("CC", "cc"), ("CXX", "c++")):
        configured = os.environ.get(variable) or sysconfig.get_config_var(variable) or usual
        if not any(shutil.which(tool) for tool in (shlex.split(configured)[0], usual)):
            fail(f"no compiler {usual!r} found: the messages need C and C++ (Debian: apt install g++)")


def prefixes() -> list[Path]:
    """Return the installation prefixes that hold the generators and the messages that ours are made of."""
    try:
        import rosidl_cli
    except ImportError as error:
        fail(
            f"ROS 2's message generators are missing ({error}). Without ROS 2 run `make`; with it run "
            "`colcon build`; PANOSAM2_CORE_ONLY=1 installs the core without messages and nodes"
        )
    named = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    # <prefix>/lib/pythonX.Y/site-packages/rosidl_cli/__init__.py
    found = list(dict.fromkeys([*named, Path(rosidl_cli.__file__).parents[4]]))
    os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join(map(str, found))
    return found


def share(package: str, ros: list[Path]) -> str:
    """Return the folder with the interface files of another message package."""
    for folder in (prefix / "share" / package for prefix in ros):
        if folder.is_dir():
            return str(folder)
    fail(f"the messages are made of {package}, which no ROS 2 prefix has: install it")


def generate(extension: MessageExtension, out: Path, ros: list[Path]) -> list[Path]:
    """Write C, C++ and Python below `out`; return the sources to compile."""
    from rosidl_cli.command.translate.api import translate
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    name, root = extension.package, extension.folder
    files = [p for kind in ("msg", "srv") for p in sorted((root / kind).glob(f"*.{kind}"))]
    idl = translate(
        package_name=name,
        interface_files=[f"{root}:{file.relative_to(root)}" for file in files],
        output_format="idl",
        output_path=out / "idl",
    )
    include = [share(package, ros) for package in DEPENDENCIES]
    generators = [
        (GenerateC("c"), out / "c"),
        (GenerateFastRTPSCTypesupport("fastrtps"), out / "c"),
        (GenerateCTypesupport("c", typesupport_implementations=[TYPESUPPORT]), out / "c"),
        # a folder of its own: its files have the names of GenerateC's
        (GenerateIntrospectionCTypesupport("introspection"), out / "introspection"),
        (GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]), out / "py"),
    ]
    written = [f for g, folder in generators for f in g.generate(name, idl, include, folder / name)]
    for file in (out / "c").rglob("*__type_support_c.cpp"):
        answer_introspection(file, name, file.parts[-3])
    return sorted({Path(f) for f in written if Path(f).suffix in (".c", ".cpp")})


def answer_introspection(file: Path, package: str, kind: str) -> None:
    """Let the handles in a generated source of Fast DDS's type support find the introspection as well."""

    def found(match: re.Match[str]) -> str:
        name = match[2]
        of_message = f"({INTROSPECTION}, {package}, {kind}, {name})"
        introspection = f"ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME{of_message}"
        find = _FIND.format(introspection=introspection, name=name, own=_OWN)
        return f"{find}{match[1]}_{name}__find"

    text, count = _HANDLE.subn(found, file.read_text())
    if not count:
        fail(f"{file.name} is not as the generators of Jazzy and Kilted write it: use colcon build")
    file.write_text(text)


class BuildModules(build_py):
    """Copies the modules into an empty folder: a wheel would hold whatever an earlier build left there."""

    def run(self) -> None:
        """Remove the copies of an earlier build, then copy the modules."""
        if not self.editable_mode:
            for package in {name.partition(".")[0] for name in self.packages or ()}:
                shutil.rmtree(Path(self.build_lib) / package, ignore_errors=True)
        super().run()


class BuildMessages(build_ext):
    """Generates, compiles, and puts the generated Python beside the compiled module."""

    def run(self) -> None:
        """Generate, compile and copy; pip calls it for wheels and editable installs."""
        if not self.extensions:
            return
        check_compilers()
        ros = prefixes()
        generated = Path(self.build_temp).resolve() / "rosidl"
        shutil.rmtree(generated, ignore_errors=True)
        for extension in self.extensions:
            with contextlib.redirect_stdout(io.StringIO()):
                sources = generate(extension, generated / extension.package, ros)
            self._configure(extension, generated / extension.package, ros, sources)
        super().run()
        for name in (extension.package for extension in self.extensions):
            package = (ROOT if self.inplace or self.editable_mode else Path(self.build_lib)) / name
            for written in (generated / name / "py" / name).glob("[ms]*"):
                shutil.rmtree(package / written.name, ignore_errors=True)
                python = shutil.ignore_patterns("*.c", "*.o")
                shutil.copytree(written, package / written.name, ignore=python)

    @staticmethod
    def _configure(
        extension: MessageExtension, generated: Path, ros: list[Path], sources: list[Path]
    ) -> None:
        import numpy

        roots = [prefix / "include" for prefix in ros]  # fastcdr's headers have no folder of their own
        headers = [*roots, *(d for root in roots for d in sorted(root.glob("*")) if d.is_dir())]
        own = [generated / "c", generated / "introspection"]
        parts = ("generator_c", "generator_py", "typesupport_c", "typesupport_fastrtps_c")
        extension.sources = [os.path.relpath(s, ROOT) for s in sources]
        extension.include_dirs = [numpy.get_include(), *map(str, [*own, *headers])]
        extension.library_dirs = [str(prefix / "lib") for prefix in ros]
        extension.libraries = [
            *(f"{package}__rosidl_{part}" for package in DEPENDENCIES for part in parts),
            *(f"{package}__{INTROSPECTION}" for package in DEPENDENCIES),
            TYPESUPPORT,
            INTROSPECTION,
            "rosidl_typesupport_fastrtps_cpp",
            "rosidl_typesupport_c",
            "rosidl_runtime_c",
            "rmw",
            "fastcdr",
        ]
        extension.extra_compile_args = ["-O1", "-g0", "-w"]
        # from lib/pythonX.Y/site-packages/<package> to lib, where the wheels put their libraries
        beside = extension.libraries_beside
        extension.runtime_library_dirs = ["$ORIGIN/../../.."] if beside else extension.library_dirs
