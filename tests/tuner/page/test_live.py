"""The served report: new as the search goes on, for this machine alone, and without a trace."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tuner import report as report_command
from tuner.cli.status import ExitStatus
from tuner.page import address_of, listen, live, served
from tuner.record.record import Record
from tuner.space.spec import SearchSpec
from tuner.storage import own_folder

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]


@pytest.fixture
def record(make_spec: MakeSpec, open_record: OpenRecord) -> Record:
    record, _ = open_record(make_spec())
    (record.run_dir / "spec.yaml").write_text(record.spec.to_yaml())
    return record


@pytest.fixture
def port(record: Record, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of the report, which waits only for as long as it takes to write one."""
    monkeypatch.setattr(live, "_MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(live, "_MIN_RATIO", 0.0)
    with live.serve(record.run_dir, listen(0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def complete_a_trial(record: Record) -> None:
    number = record.next_trial().number  # type: ignore[union-attr]
    record.reported(number, {"generator_steps": 4000.0, "w1": 1.5}, continues=False)
    record.ended(number)


def test_the_page_and_its_version_follow_the_search_and_leave_its_folder_alone(
    record: Record, port: int
) -> None:
    status, page = get(port)
    version = get(port, "/version")[1]
    assert status == 200
    assert f'data-version="{version}"' in page
    assert get(port) == (200, page), "nothing has changed"
    complete_a_trial(record)
    newer = get(port, "/version")[1]
    assert newer != version
    before = sorted(path.name for path in record.run_dir.iterdir())
    status, page = get(port)
    assert status == 200
    assert f'data-version="{newer}"' in page
    assert "00000" in page
    assert sorted(path.name for path in record.run_dir.iterdir()) == before


def test_the_end_of_the_search_is_news_although_no_file_tells_it(record: Record, port: int) -> None:
    with own_folder(record.run_dir):
        running = get(port, "/version")
        assert 'class="badge running"' in get(port)[1]
    assert get(port, "/version") != running
    assert 'class="badge interrupted"' in get(port)[1]


def test_a_report_is_not_written_again_sooner_than_its_cost_allows(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(live, "page", lambda *args: written.append(args[-1]) or "page")
    report = live.LiveReport(record.run_dir)
    for _ in range(3):
        report.html()
        complete_a_trial(record)
    assert written == [report.version()]


def test_it_answers_this_machine_alone_and_for_the_page_alone(port: int) -> None:
    assert get(port, host="evil.example")[0] == 403
    assert get(port, host="127.0.0.1.evil.example")[0] == 403
    assert get(port, host="localhost")[0] == 200
    assert [get(port, path)[0] for path in ("/x", "/../study.log", "/?x")] == [404] * 3
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))


def test_a_folder_that_is_gone_is_said_and_the_server_goes_on(record: Record, port: int) -> None:
    moved = record.run_dir.rename(record.run_dir.with_name("moved"))
    status, text = get(port)
    assert status == 503
    assert "does not exist" in text or "holds no search" in text
    moved.rename(record.run_dir)
    assert get(port)[0] == 200


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_a_search_serves_its_report_from_a_process_that_ends_with_it(record: Record) -> None:
    with listen(0) as listening, served(record.run_dir, listening):
        address = address_of(listening)
        port = int(address.rpartition(":")[2])
        assert get(port)[0] == 200
        assert address == f"http://127.0.0.1:{port}"
        assert os.getpgrp() != (child := children()[0]), "Ctrl-C does not reach it"
        assert os.getpgid(child) == child
        assert os.getpriority(os.PRIO_PROCESS, child) > os.getpriority(os.PRIO_PROCESS, 0)
    assert not listens(port)
    assert not Path(f"/proc/{child}").exists()


def children() -> list[int]:
    """Those of this process that serve a report."""
    of_this = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text()
    return [n for n in map(int, of_this.split()) if "tuner.page.live" in command_of(n)]


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()


def test_the_server_of_a_search_that_is_killed_ends_as_well(record: Record) -> None:
    search = (
        "import sys, time\nfrom pathlib import Path\nfrom tuner import page\n"
        "with page.listen(0) as listening, page.served(Path(sys.argv[1]), listening):\n"
        "    print(listening.getsockname()[1], flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", search, str(record.run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert get(port)[0] == 200
        process.send_signal(signal.SIGKILL)
    until_s = time.monotonic() + 20
    while listens(port) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert not listens(port)


def test_bad_ports_are_refused_in_one_line(
    record: Record, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_command.main([str(record.run_dir), f"--serve={port}"]) == ExitStatus.BAD_INPUT
    assert f"cannot listen on port {port} (Address already in use)" in capsys.readouterr().err
    for text in ("70000", "-1", "x"):
        with pytest.raises(SystemExit, match="2"):
            report_command.main([str(record.run_dir), f"--serve={text}"])
        rule = f"must be a whole number from 0 to 65,535, got '{text}'"
        assert rule in capsys.readouterr().err


def test_a_browser_shows_newer_results_by_itself_and_asks_who_is_busy(
    record: Record, port: int, browser_page: Any
) -> None:
    browser_page.set_default_timeout(120_000)  # of a busy machine
    browser_page.goto(f"http://127.0.0.1:{port}/")
    assert "No trial has been proposed yet" in browser_page.content()
    complete_a_trial(record)
    browser_page.wait_for_selector("td:has-text('00000')")
    browser_page.evaluate("selection.set('filter', new Set([0]))")
    complete_a_trial(record)
    browser_page.click("text=show newer results")
    browser_page.wait_for_selector("td:has-text('00001')")
    browser_page.keyboard.press("End")
    complete_a_trial(record)
    browser_page.click("text=show newer results")
    browser_page.wait_for_selector("td:has-text('00002')")
