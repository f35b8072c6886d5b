"""Locations, and files at them: in a folder of this machine and in a real S3 server alike."""

import pickle
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import s3
from ray import tune

from tuner.storage.folder import (
    Folder,
    check_reachable,
    fetch_file,
    file_exists,
    location_of,
    remove_folder,
    resolve_location,
)
from tuner.storage.uri import is_remote, join, location_faults, redact

SECRET = "wJalr/hush"


@pytest.fixture(params=["folder", "file", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of each kind, of a name that a URI must write otherwise."""
    if request.param == "s3":
        return join(request.getfixturevalue("server").uri(tmp_path.name), "a b%c")
    return join(str(tmp_path) if request.param == "folder" else tmp_path.as_uri(), "a b%c")


@pytest.mark.parametrize(
    "location",
    [
        "runs",
        "/data/runs of all",
        "file:///data/runs%20of%20all",
        "s3://bucket",
        "s3://bucket/folder?region=eu-west-1",
        "s3://bucket/folder?endpoint_override=127.0.0.1:9000&scheme=http",
        "gs://bucket/folder?retry_limit_seconds=60",
        "gs://anonymous@bucket/folder",
        "gcs://bucket/folder",
        "abfss://container@account.dfs.core.windows.net/folder?credential_kind=default",
        "hdfs://me@namenode:8020/folder",
    ],
)
def test_these_locations_are_right(location: str) -> None:
    assert location_faults(location) == []
    assert location_faults(join(location, "a b", "ü%")) == []


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("a\0b", "must not hold a null byte"),
        ("http://host/folder", r"must be a folder or begin with one of .*s3://.*, got http:"),
        ("S3://bucket", r"must be a folder or begin with one of .*, got S3:"),
        ("s3:/bucket/folder", "must have two slashes after s3:, got one"),
        ("s3://", r"must name a bucket, .*: write s3://bucket/folder"),
        ("gs:///folder", r"must name a bucket, .*: write gs://bucket/folder"),
        ("s3://127.0.0.1:9000/bucket", r"a server's address as \?endpoint_override=HOST:PORT"),
        ("file://folder", "must have three slashes after file:"),
        ("s3://bucket/a b", r"must not hold ' ' in a URI: write %20 instead"),
        ("s3://bucket/a#b", r"must not hold '#' in a URI: write %23 instead"),
        ("s3://bucket/folder?regoin=x", "must not hold regoin: leave it out; known .*region"),
        ("file:///folder?a=b", "must not hold a: leave it out; known options: none"),
    ],
)
def test_a_fault_gives_the_rule_and_the_way_out(location: str, rule: str) -> None:
    (fault,) = location_faults(location)
    assert re.search(rule, fault), fault


@pytest.mark.parametrize(
    "location",
    [
        f"s3://AKIA:{SECRET}@bucket/folder",
        f"s3://AKIA:{SECRET}?x@bucket/folder",
        f"s3://{SECRET}@bucket/folder",
        f"s3://bucket/folder?access_key=AKIA&secret_key={SECRET}",
        f"s3://bucket/folder?session_token={SECRET}",
        f"s3://bucket/folder?endpoint_override=http://me:{SECRET}@host",
        f"s3://bucket/folder?{SECRET}",
        f"s3://AKIA:{SECRET}/folder",
        f"gs://me:{SECRET}@bucket/folder",
        f"abfss://:{SECRET}@account.dfs.core.windows.net/container/folder",
        f"abfss://c@account.dfs.core.windows.net/f?client_secret={SECRET}",
        f"hdfs://me:{SECRET}@namenode/folder",
        f"ftp://me:{SECRET}@host/folder",
    ],
)
def test_credentials_are_refused_and_not_repeated(location: str) -> None:
    found = location_faults(location)
    assert found
    for part in SECRET.split("/"):
        assert part not in " ".join(found) + redact(location).partition("?")[0]


def test_looking_at_a_location_imports_no_pyarrow() -> None:
    code = "import sys; from tuner.storage import uri; uri.location_faults('s3://b/f'); "
    subprocess.run([sys.executable, "-c", code + "assert 'pyarrow' not in sys.modules"], check=True)


def test_join_keeps_the_scheme_and_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join("s3://b/f/?region=x", "a b", "c") == "s3://b/f/a%20b/c?region=x"
    assert join("gs://b", "c") == "gs://b/c"
    assert join("/f", "a b") == "/f/a b"
    monkeypatch.chdir("/tmp")
    assert join("f", "c") == "/tmp/f/c"
    assert is_remote("s3://b/f")
    assert not is_remote("file:///f")
    assert not is_remote("f")


def test_uri_of_undoes_resolve(location: str) -> None:
    below = join(location, "ray", "trial 1", "checkpoint_000001")
    assert location_of(location, resolve_location(below)[1]) == below
    assert location_of(location, resolve_location(location)[1]) == location
    with pytest.raises(ValueError, match="is not in the subpath"):
        location_of(location, "/elsewhere")


def test_a_file_is_what_was_last_written(location: str, tmp_path: Path) -> None:
    folder = Folder(location)
    assert not file_exists(location, "below/it.gz")
    for content in (b"first, and longer", b"second", b""):
        folder.write_bytes("below/it.gz", content)
        assert folder.read("below/it.gz") == content
        fetch_file(location, "below/it.gz", tmp_path / "new" / "it")
        assert (tmp_path / "new" / "it").read_bytes() == content
    with (tmp_path / "long").open("w+b") as source:
        source.write(b"0123456789")
        source.seek(0)
        folder.write("part", source, 4)
    assert folder.sizes() == {"below/it.gz": 0, "part": 4}
    assert folder.sizes(skip={"below"}) == {"part": 4}
    assert file_exists(location, "part")
    folder.delete("part")
    assert not file_exists(location, "part")


def test_a_file_that_is_not_there_is_said_to_be_so(location: str, tmp_path: Path) -> None:
    Folder(location).write_bytes("other", b"")
    with pytest.raises(FileNotFoundError, match=r"^cannot read it from .*(a b%c|a%20b%25c): "):
        fetch_file(location, "it", tmp_path / "new" / "it")
    assert list(tmp_path.rglob("*it*")) == []


def test_an_interrupted_fetch_leaves_what_was_there(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Folder(location).write_bytes("it", b"new")
    target = tmp_path / "there" / "it"
    target.parent.mkdir()
    target.write_bytes(b"old")

    def fails(source: object, file: object, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", fails)
    with pytest.raises(OSError, match=r"cannot read it from .*No space left on device") as raised:
        fetch_file(location, "it", target)
    assert raised.value.errno == 28
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_reachable_leaves_nothing_behind(location: str) -> None:
    check_reachable(location)
    assert Folder(location).sizes() == {}


def test_a_folder_that_cannot_be_made_is_not_reachable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/f: .*: choose a folder that you"):
        check_reachable(str(tmp_path / "file" / "f"))


def test_a_bucket_that_is_not_there_is_not_reachable(server: s3.S3) -> None:
    with pytest.raises(OSError, match=r"NO_SUCH_BUCKET.*: check that its bucket exists"):
        check_reachable("s3://not-there/folder")


def test_unknown_credentials_are_said_and_not_shown(server: s3.S3) -> None:
    server.refuse_credentials(refuse=True)
    try:
        with pytest.raises(OSError, match=r"INVALID_ACCESS_KEY_ID.*the credentials") as raised:
            check_reachable(server.uri("folder"))
    finally:
        server.refuse_credentials(refuse=False)
    assert s3.SECRET not in str(raised.value)
    assert server.environment["AWS_ACCESS_KEY_ID"] not in str(raised.value)


@pytest.mark.parametrize("kind", ["s3", "gs"])
@pytest.mark.parametrize("answers", [True, False])
def test_reachable_gives_up_on_a_server_that_is_gone_or_silent(
    kind: str, answers: bool, server: s3.S3
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if answers:  # with a refusal
            listening.close()
        user = "anonymous@" if kind == "gs" else ""
        location = f"{kind}://{user}bucket/folder?endpoint_override=127.0.0.1:{port}&scheme=http"
        began = time.monotonic()
        with pytest.raises(OSError, match=r"cannot write|did not answer within 3 s: check its add"):
            check_reachable(location, timeout_s=3)
        assert time.monotonic() - began < 3.5


def test_the_file_system_takes_no_credentials_to_where_it_is_sent(server: s3.S3) -> None:
    sent = pickle.dumps(resolve_location(server.uri("folder"))[0])
    assert s3.SECRET.encode() not in sent
    assert pickle.loads(sent) == resolve_location(server.uri("folder"))[0]


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_server_is_read_from_the_environment_or_the_location(
    variable: str, server: s3.S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = server.environment["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(variable, address)
    Folder(server.uri(tmp_path.name)).write_bytes("it", b"by the environment")
    monkeypatch.delenv(variable)
    host = address.removeprefix("http://")
    location = f"{server.uri(tmp_path.name)}?endpoint_override={host}&scheme=http&region=us-east-1"
    assert Folder(location).read("it") == b"by the environment"
    assert server.objects(tmp_path.name) == {f"{tmp_path.name}/it": b"by the environment"}


@pytest.mark.parametrize("of", ["{}", "file://{}"])
def test_a_folder_is_removed_whatever_its_location_is_written_as(tmp_path: Path, of: str) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "state.pt").touch()
    for _ in range(2):  # again is the same as once
        remove_folder(of.format(folder))
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    """A link is none: what it leads to is not removed."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(OSError, match=f"cannot delete {tmp_path}/{name}: "):
            remove_folder(str(tmp_path / name))
    assert (tmp_path / "target").is_dir()


def test_ray_reads_a_checkpoint_back_from_its_location(server: s3.S3, tmp_path: Path) -> None:
    location = server.uri(tmp_path.name, "ray")
    Folder(location).write_bytes("trial/checkpoint_000001/state.pt", b"state")
    path = f"{resolve_location(location)[1]}/trial/checkpoint_000001"  # as Ray's callback has it
    uri = location_of(location, path)
    file_system, path = resolve_location(uri)
    for checkpoint in (tune.Checkpoint(uri), tune.Checkpoint(path, filesystem=file_system)):
        with checkpoint.as_directory() as folder:
            assert Path(folder, "state.pt").read_bytes() == b"state"


def test_a_process_that_used_s3_exits_at_once_and_says_nothing(server: s3.S3) -> None:
    code = (
        f"from tuner.storage.folder import check_reachable; check_reachable({server.uri('exit')!r})"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
