"""A real S3 server on this machine, whose data outlive its being stopped and started again."""

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3
from botocore.client import BaseClient
from moto.server import ThreadedMotoServer

BUCKET = "searches"
#: No message, warning or file may hold it.
SECRET = "wJalr-nobody-may-see-this"


@dataclass
class S3:
    """The server. ``environment`` is all that a client needs, in this process or another."""

    port: int
    bucket: str = BUCKET
    _server: ThreadedMotoServer | None = None
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = {
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Listen on the port, which is chosen at the first start."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.__post_init__()

    def stop(self) -> None:
        """Refuse every connection from here on."""
        if self._server is not None:
            self._server.stop()
        self._server = None

    def uri(self, *names: str) -> str:
        """A location in its bucket."""
        return "/".join([f"s3://{self.bucket}", *names])

    def objects(self, below: str = "") -> dict[str, bytes]:
        """What the bucket holds, as a client other than ours reads it."""
        client = self._client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def refuse_credentials(self, *, refuse: bool) -> None:
        """Check who asks: nobody is known."""
        self._moto("reset-auth", b"0" if refuse else b"inf")

    def _moto(self, what: str, value: bytes = b"") -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/moto-api/{what}",
            data=value,
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request).close()

    def _client(self) -> BaseClient:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )


@contextmanager
def serving() -> Iterator[S3]:
    """A server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3(port=0)
    server.start()
    try:
        server._moto("reset")
        server._client().create_bucket(Bucket=server.bucket)
        yield server
    finally:
        server.stop()
