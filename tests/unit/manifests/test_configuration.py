"""The daemon's configuration: what may stand in it, what becomes of it, and what is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import yaml
from jsonschema import Draft7Validator

from reconciler.adapters.manifests.reader import load_manifests, read_settings, salvage_settings
from reconciler.adapters.manifests.schema_errors import is_valid, load_schema, read_schema
from reconciler.core.settings import (
    DirectorySource,
    GitSource,
    MetricsSettings,
    PruneRails,
    Settings,
)
from reconciler.errors import InvalidManifestError, UsageError

ROOT = Path(__file__).parents[3]
DIRECTORY = {"directory": "/m"}
URL = "ssh://git@git.example.org/vms.git"
KIND = "Configuration"


def text_of(source: Any = DIRECTORY, **spec: Any) -> str:
    """Return a configuration as a file has it."""
    head = {"apiVersion": "virt-reconciler/v1", "kind": KIND}
    return yaml.safe_dump({**head, "spec": {"source": source, **spec}}, sort_keys=False)


def git(**fields: Any) -> Dict[str, Any]:
    """Return a source that is a repository."""
    return {"git": {"url": URL, **fields}}


def read(folder: Path, text: str) -> Settings:
    """Write a configuration and read it."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return read_settings(str(path))


def complaints(folder: Path, text: str) -> List[str]:
    """Return what is told, without the folder."""
    with pytest.raises(InvalidManifestError) as caught:
        read(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def messages(folder: Path, text: str) -> List[Tuple[str, str]]:
    """Return path and message of each problem."""
    with pytest.raises(InvalidManifestError) as caught:
        read(folder, text)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_what_is_left_out_has_the_defaults_of_the_settings(tmp_path: Path) -> None:
    assert read(tmp_path, text_of()) == Settings(directory=DirectorySource("/m"))
    assert read(tmp_path, text_of({"git": {"url": URL}})) == Settings(git=GitSource(URL))


def test_every_setting_arrives(tmp_path: Path) -> None:
    source = git(
        ref="production", path="hosts/kvm01", interval="2m", verify="signed",
        allowedSigners="/s", deployKey="/k", knownHosts="/h",
    )  # fmt: skip
    rest: Dict[str, Any] = {
        "connect": "qemu:///session",
        "state": "/srv/state",
        "resync": "1h",
        "rescan": "7s",
        "lanes": 9,
        "prune": {"most": 0, "share": "5%"},
        "metrics": {"file": "/m/v.prom", "address": "::1", "port": 1},
    }
    assert read(tmp_path, text_of(source, **rest)) == Settings(
        git=GitSource(
            url=URL,
            ref="production",
            path="hosts/kvm01",
            interval=120.0,
            verify_signatures=True,
            allowed_signers="/s",
            deploy_key="/k",
            known_hosts="/h",
        ),
        connect="qemu:///session",
        state="/srv/state",
        resync=3600.0,
        rescan=7.0,
        lanes=9,
        prune=PruneRails(most=0, share=0.05),
        metrics=MetricsSettings(file="/m/v.prom", address="::1", port=1),
    )


def test_the_schema_names_the_defaults_that_hold(tmp_path: Path) -> None:
    """Writing every default out is the same as leaving it out."""
    spec = load_schema(KIND)["properties"]["spec"]["properties"]
    written = {name: one["default"] for name, one in spec.items() if "default" in one}
    written["prune"] = _defaults(spec["prune"])
    written["metrics"] = {"address": "127.0.0.1", **_defaults(spec["metrics"])}
    inside = spec["source"]["properties"]["git"]
    settings = read(tmp_path, text_of(git(**_defaults(inside)), **written))
    assert len(written) == len(spec) - 1
    plain = Settings(git=GitSource(URL), metrics=MetricsSettings(address="127.0.0.1"))
    assert settings == plain


def _defaults(field: Any) -> Dict[str, Any]:
    return {name: one["default"] for name, one in field["properties"].items() if "default" in one}


WRONG = [
    pytest.param({"resync": 300}, "resync", "300 is an unquoted number; write a time with a unit, like 30s, 2m or 1h", id="a time without unit"),
    pytest.param({"resync": "9s"}, "resync", "9s is not within 10s to 24h", id="a resync too short"),
    pytest.param({"rescan": "25h"}, "rescan", "25h is not within 1s to 24h", id="a rescan too long"),
    pytest.param({"lanes": 0}, "lanes", "0 is too small; at least 1", id="no lanes"),
    pytest.param({"prune": {"share": 20}}, "prune.share", "20 is an unquoted number; write a share from 0% to 100%, like 20%", id="a share without %"),
    pytest.param({"prune": {"share": "101%"}}, "prune.share", "'101%' is not valid; write a share from 0% to 100%, like 20%", id="a share of more than all"),
    pytest.param({"metrics": {"port": 80}}, "metrics", "port has no effect without address", id="a port without address"),
    pytest.param({"metrics": {"address": "10.0.0.1"}}, "metrics.address", "10.0.0.1 is not a loopback address; write 127.0.0.1 or ::1", id="an address of a network"),
    pytest.param({"metrics": {"address": "localhost"}}, "metrics.address", "'localhost' is not valid; write a loopback address, 127.0.0.1 or ::1", id="a name for an address"),
    pytest.param({"metrics": {"file": "/x/metrics.txt"}}, "metrics.file", "'/x/metrics.txt' is not valid; write an absolute path that ends with .prom", id="a file nobody reads"),
    pytest.param({"state": "state"}, "state", "'state' is not valid; write an absolute path", id="a relative folder"),
    pytest.param({"connect": "system"}, "connect", "'system' is not valid; write a libvirt URI, like qemu:///system", id="no URI"),
    pytest.param({"resnyc": "5m"}, "resnyc", "unknown field; did you mean resync?", id="an unknown field"),
    pytest.param({"source": {}}, "source", "give exactly one of directory, git", id="no source"),
    pytest.param({"source": {**DIRECTORY, **git()}}, "source", "give exactly one of directory, git", id="two sources"),
    pytest.param({"source": {"directory": "m"}}, "source.directory", "'m' is not valid; write an absolute path", id="a relative source"),
    pytest.param({"source": {"git": {}}}, "source.git", "url is missing", id="not an address"),
    pytest.param({"source": git(url="https://me:secret@git.example.org/x")}, "source.git.url", "contains a password that anyone can read here; use ssh with a deployKey", id="a password"),
    pytest.param({"source": git(url="https://secret@git.example.org/x")}, "source.git.url", "contains a password that anyone can read here; use ssh with a deployKey", id="a token"),
    pytest.param({"source": git(interval="4s")}, "source.git.interval", "4s is not within 5s to 24h", id="an interval too short"),
    pytest.param({"source": git(path="../x")}, "source.git.path", "'../x' is not valid; write a folder inside of the repository, without .. and not beginning with /", id="a path that leads out"),
    pytest.param({"source": git(ref="--upload-pack=x")}, "source.git.ref", "'--upload-pack=x' is not valid; write the name of a branch or tag, like main", id="a ref that is an option"),
    pytest.param({"source": git(verify="signed")}, "source.git.verify", "signed needs allowedSigners, the file of keys that may sign", id="signed by nobody"),
    pytest.param({"source": git(allowedSigners="/s")}, "source.git.allowedSigners", "nothing is verified without `verify: signed`; set that, or `verify: none`", id="signers that nobody asks"),
    pytest.param({"source": git(verify=True)}, "source.git.verify", "true is not valid here; write one of none, signed", id="verify as a switch"),
    pytest.param({"source": git(url="https://git.example.org/x", deployKey="/k")}, "source.git.deployKey", "has no effect with https: only ssh uses it", id="a key without ssh"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "path", "message"), WRONG)
def test_what_is_wrong_is_told_once_and_at_its_place(
    spec: Dict[str, Any], path: str, message: str, tmp_path: Path
) -> None:
    assert messages(tmp_path, text_of(**spec)) == [(f"spec.{path}", message)]


def test_everything_that_is_wrong_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    text = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source: {directory: /m, git: {url: "https://a:b@c/d"}}
  resync: 5
  rescan: 0s
  lanes: 4
  lanes: 5
  metrics: {address: 10.0.0.1}
"""
    assert complaints(tmp_path, text) == [
        "config.yaml:4:11: spec.source: give exactly one of directory, git",
        "config.yaml:4:38: spec.source.git.url: contains a password that anyone can read here; use ssh with a "
        "deployKey",
        "config.yaml:5:11: spec.resync: 5 is an unquoted number; write a time with a unit, like 30s, "
        "2m or 1h",
        "config.yaml:6:11: spec.rescan: '0s' is not valid; write a time with a unit, like 30s, "
        "2m or 1h",
        "config.yaml:8:3: duplicate key 'lanes'; it is also in line 7",
        "config.yaml:9:22: spec.metrics.address: 10.0.0.1 is not a loopback address; write 127.0.0.1 or ::1",
    ]


URLS = [
    ("ssh://git@git.example.org:2222/vms.git", True),
    ("git@git.example.org:infra/vms.git", True),
    ("git.example.org:infra/vms.git", True),
    ("https://git.example.org/infra/vms.git", True),
    ("/srv/git/vms.git", True),
    ("file:///srv/git/vms.git", True),
    ("ext::sh -c touch% /x", False),
    ("ext::x", False),
    ("ftp://git.example.org/x", False),
    ("-oProxyCommand=x:y", False),
    ("ssh://-oProxyCommand=x/y", False),
    ("git@-oProxyCommand=x:y", False),
    ("vms.git", False),
    ("ssh://git@git.example.org/x\n", False),
]


@pytest.mark.parametrize(("url", "is_good"), URLS)
def test_an_address_is_a_place_and_never_a_command(url: str, is_good: bool) -> None:
    document = yaml.safe_load(text_of({"git": {"url": url}}))
    assert is_valid(KIND)(document) is is_good
    assert Draft7Validator(load_schema(KIND)).is_valid(document) is is_good


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "config.yaml: is empty; see virt-reconciler-config(5)", id="nothing"),
        pytest.param("# a\n", "config.yaml: is empty; see virt-reconciler-config(5)", id="only a comment"),
        pytest.param("- a\n", "config.yaml:1:1: a configuration must be a mapping of apiVersion, kind and spec, not a list", id="a list"),
        pytest.param("spec: {}\n", "config.yaml:1:1: kind is missing: write Configuration", id="no kind"),
        pytest.param("kind: VirtualMachine\n", "config.yaml:1:7: kind: VirtualMachine is a manifest, not the daemon's Configuration", id="a manifest"),
        pytest.param("kind: Config\n", "config.yaml:1:7: kind: 'Config' is not Configuration; did you mean Configuration?", id="a typing mistake"),
        pytest.param("a: b: c\n", "config.yaml:1:5: not YAML: mapping values are not allowed in this context; quote a text that contains ': '", id="no YAML"),
        pytest.param(text_of() + "---\n" + text_of(), "config.yaml:7:1: a configuration is a single document", id="two"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration(text: str, problem: str, tmp_path: Path) -> None:
    assert complaints(tmp_path, text) == [problem]


def test_a_missing_file_and_a_folder_are_mistakes_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no configuration file .*/none\.yaml"):
        read_settings(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="is a folder and not a configuration file"):
        read_settings(str(tmp_path))


def test_a_configuration_among_manifests_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text_of(), encoding="utf-8")
    (problem,) = load_manifests([str(tmp_path)]).problems
    assert (problem.line, problem.path) == (2, "kind")
    assert "the daemon's configuration, not a manifest" in problem.message


def test_the_installed_configuration_is_valid_and_keeps_the_defaults() -> None:
    settings = read_settings(str(ROOT / "packaging" / "config.yaml"))
    assert settings == Settings(directory=DirectorySource("/etc/virt-reconciler/manifests"))


def test_what_the_installed_configuration_comments_out_is_valid_too(tmp_path: Path) -> None:
    """With one # the default, with two an example; each can be uncommented as it stands."""
    text = (ROOT / "packaging" / "config.yaml").read_text(encoding="utf-8")
    body = text[text.index("spec:") :]
    defaults = re.sub(r"(?m)^  # (\w+: )", r"  \1", body)
    assert defaults.count("\n  # ") == body.count("\n  # ") - 6
    head = f"apiVersion: virt-reconciler/v1\nkind: {KIND}\n"
    expected = Settings(directory=DirectorySource("/etc/virt-reconciler/manifests"))
    assert read(tmp_path, head + defaults) == expected
    examples = re.sub(r"(?m)^( *)## ", r"\1", body).replace("    directory:", "    # directory:")
    settings = read(tmp_path, head + examples)
    assert settings.git is not None
    assert settings.git.verify_signatures
    assert settings.metrics.address == "127.0.0.1"


def test_the_schema_is_printed_like_the_others() -> None:
    schema = json.loads(read_schema(KIND))
    assert schema["title"] == KIND
    Draft7Validator.check_schema(schema)


def _fields(schema: Any) -> Iterator[Tuple[str, Any]]:
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from _fields(field)


def test_every_field_is_described_and_its_examples_fit() -> None:
    schema = load_schema(KIND)
    fields = list(_fields(schema))
    assert len(fields) > 20
    for name, field in fields:
        assert field["description"].endswith("."), name
        validator = Draft7Validator({**field, "definitions": schema["definitions"]})
        assert all(validator.is_valid(example) for example in field.get("examples", ())), name


@pytest.mark.parametrize(
    ("text", "state", "connect"),
    [
        (text_of(state="/srv/s", lanes="many"), "/srv/s", Settings.connect),
        (text_of(state="/srv/s", connect="test:///default", what="is this"), "/srv/s",
         "test:///default"),
        ("spec:\n  state: /srv/s  # ours\n  source: {\n", "/srv/s", Settings.connect),
        ("spec:\n  state: '/srv/s'\n\tconnect: x\n", "/srv/s", Settings.connect),
        ("- a list", Settings.state, Settings.connect),
        ("\x00", Settings.state, Settings.connect),
        (text_of(state=["no", "text"]), Settings.state, Settings.connect),
    ],
)  # fmt: skip
def test_where_the_memory_is_can_be_told_of_a_wrong_configuration(
    tmp_path: Path, text: str, state: str, connect: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidManifestError):
        read_settings(str(path))
    found = salvage_settings(str(path))
    assert (found.state, found.connect) == (state, connect)
