"""Check, join and redact locations, which are folders or URIs, from their text alone."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote

from trainables.config import SECRET_NAME, URI

_GOOGLE = frozenset({"scheme", "endpoint_override", "retry_limit_seconds"})
#: Options that are true or false.
BOOLEAN_OPTIONS = ("allow_bucket_creation", "allow_bucket_deletion")
#: The options that may follow the "?", by scheme; ``None``: all that pyarrow accepts. Others are
#: lost when Ray sends a file system to its workers.
_OPTIONS: dict[str, frozenset[str] | None] = {
    "file": frozenset(),
    "s3": frozenset(
        {"scheme", "region", "endpoint_override", "tls_ca_file_path", *BOOLEAN_OPTIONS}
    ),
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": None,
    "abfss": None,
    "hdfs": None,
    "viewfs": None,
}
_BUCKETS = {
    "s3": "s3://bucket/folder",
    "gs": "gs://bucket/folder",
    "gcs": "gs://bucket/folder",
    "abfs": "abfs://container@account.dfs.core.windows.net/folder",
    "abfss": "abfss://container@account.dfs.core.windows.net/folder",
}
_ILLEGAL = re.compile(r"[^\w.~:/?\[\]@!$&'()*+,;=%-]", re.ASCII)
_ELSEWHERE = (
    "give them in the environment (AWS_ACCESS_KEY_ID, ...): the location is written into files"
)


def location_faults(location: str) -> list[str]:
    """List the faults of a location that its text shows."""
    if not (uri := URI.match(location)):
        return [f"must not hold a null byte, got {location!r}"] if "\0" in location else []
    scheme = uri[1]
    if scheme not in _OPTIONS:
        schemes = ", ".join(f"{name}://" for name in _OPTIONS)
        return [f"must be a folder or begin with one of {schemes}, got {scheme}:"]
    if not location.startswith(f"{scheme}://"):
        return [f"must have two slashes after {scheme}:, got one"]
    head, _, query = location[len(scheme) + 3 :].partition("?")
    faults = [*_head_faults(scheme, head), *_query_faults(scheme, query)]
    if illegal := _ILLEGAL.search(location):
        instead = quote(illegal[0].encode())
        faults.append(f"must not hold {illegal[0]!r} in a URI: write {instead} instead")
    return faults


def _head_faults(scheme: str, head: str) -> list[str]:
    user, at, place = head.rpartition("@")
    holder = {"gs": "anonymous", "gcs": "anonymous", "s3": "", "file": ""}.get(scheme, user)
    if at and (user != holder or ":" in user or "/" in user):
        message = f"must not hold a user, key or password before an '@': {_ELSEWHERE}"
        return [f"{message}; in a folder's name write %40"]
    bucket = place.partition("/")[0]
    if scheme in _BUCKETS and not bucket:
        return [f"must name a bucket, got {scheme}://{place!r:.80}: write {_BUCKETS[scheme]}"]
    if scheme in ("s3", "gs", "gcs") and ":" in bucket:
        message = f"must begin with a bucket's name: write {_BUCKETS[scheme]}"
        return [f"{message}, and a server's address as ?endpoint_override=HOST:PORT&scheme=http"]
    if scheme == "file" and bucket:
        return ["must have three slashes after file:, else it names a host: write file:///folder"]
    return []


def _query_faults(scheme: str, query: str) -> list[str]:
    faults, allowed = [], _OPTIONS[scheme]
    for name, value in parse_qsl(query, keep_blank_values=True):
        option = name if re.fullmatch(r"[a-z_]{1,40}", name) else "a part after the '?'"
        if SECRET_NAME.search(name) or "@" in value:
            faults.append(f"must not hold credentials ({option}): {_ELSEWHERE}")
        elif allowed is not None and name not in allowed:
            options = ", ".join(sorted(allowed)) or "none"
            faults.append(f"must not hold {option}: leave it out; known options: {options}")
    return faults


def is_remote(location: str) -> bool:
    """Return whether a location is outside this machine's file system."""
    return bool(URI.match(location)) and not location.startswith("file:")


def join(location: str, *names: str) -> str:
    """Return the absolute location of a file or folder below another; URIs keep their options."""
    if not URI.match(location):
        return str(Path(location).absolute().joinpath(*names))
    head, mark, query = location.partition("?")
    return "/".join([head.rstrip("/"), *map(quote, names)]) + mark + query


def redact(location: str) -> str:
    """Return a location for a message: without options, and without anything secret."""
    head = location.partition("?")[0]
    scheme, mark, rest = head.partition("://")
    if not mark or not _head_faults(scheme if scheme in _OPTIONS else "s3", rest):
        return head
    return f"{scheme}://***"
