#!/usr/bin/env python3
"""Takes the pictures of docs/reading.md: of a real zcrxd that forwards to a destination which does not read, and of recordings of
real queues that starved for other reasons.

    python3 docs/images/make.py target/debug/zcrxd [--recordings-only]

Needs chromium and tmux. Everything it starts, it ends.
"""

import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDINGS = os.path.join(HERE, "../../zcrx-daemon/tests/diagnose")
# By the name of the picture, the recording and how many samples after the begin of its problem are shown.
SITUATIONS = {
    "never-returned": ("never_returned-returns_nothing", 6),
    "slow-consumer": ("slow_consumer-destination_blocks", 6),
    "unread-socket-data": ("unread_socket_data-no_receive_armed", 6),
    "bad-entries": ("bad_entries-unknown_area", 6),
    "lazy-consumption": ("lazy_consumption-nic_without_retry", 6),
    "copy-fallback": ("copy_fallback-other_queue", 6),
}
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
COLOURS = {31: "#e5534b", 32: "#57ab5a", 33: "#c69026", 34: "#539bf5", 35: "#b083f0", 36: "#39c5cf"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send(port, bytes_per_second):
    """Sends at this rate until the process ends."""
    def run():
        with socket.create_connection(("127.0.0.1", port)) as stream:
            begin, sent, block = time.monotonic(), 0, b"z" * 65536
            try:
                while True:
                    stream.sendall(block)
                    sent += len(block)
                    time.sleep(max(0.0, begin + sent / bytes_per_second - time.monotonic()))
            except OSError:
                # The daemon has ended.
                pass
    threading.Thread(target=run, daemon=True).start()


def until(web, holds, limit=120):
    """Waits until that holds of the diagnosis."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/diagnose.json") as answer:
            queues = {report["key"]["queue"]: report for report in json.load(answer)["queues"]}
        if queues and holds(queues):
            return
        time.sleep(0.2)
    raise SystemExit("what the picture should show did not come about")


def browser(url, name, width, height, *more):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run([*CHROMIUM, f"--user-data-dir={profile}", f"--window-size={width},{height}",
                        f"--screenshot={os.path.join(HERE, name)}", *more, url],
                       check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def page(text):
    """A screen with its escape sequences, as HTML."""
    out, style = [], {}
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if not code:
            css = "".join(f"{key}:{value};" for key, value in style.items())
            out.append(f"<span style='{css}'>{html.escape(part)}</span>")
            continue
        numbers = [int(digits or 0) for digits in code[1].split(";")]
        if numbers[:2] == [38, 5]:
            numbers = [30 + numbers[2] % 8]
        for number in numbers:
            if number == 0:
                style = {}
            elif number == 1:
                style["font-weight"] = "bold"
            elif number == 4:
                style["text-decoration"] = "underline"
            elif number == 7:
                style["background"], style["color"] = "#d0d7de", "#10151b"
            elif number == 22:
                style.pop("font-weight", None)
            elif number == 24:
                style.pop("text-decoration", None)
            elif number == 27:
                style.pop("background", None)
                style.pop("color", None)
            elif number == 39:
                style.pop("color", None)
            elif number in COLOURS:
                style["color"] = COLOURS[number]
    body = "<body style='margin:0;background:#10151b;color:#d0d7de'>"
    return f"<meta charset=utf-8>{body}<pre style='margin:10px;font:15px/18px DejaVu Sans Mono,monospace'>{''.join(out)}"


class Terminal:
    """zcrxd top in 80 by 24."""

    def __init__(self, program, *args):
        self.server = f"zcrxd-pictures-{os.getpid()}"
        command = f"exec {program} top {' '.join(args)}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command)

    def tmux(self, *args):
        environment = dict(os.environ, LC_ALL="C.UTF-8")
        environment.pop("NO_COLOR", None)
        answer = subprocess.run(["tmux", "-L", self.server, *args], check=True, capture_output=True, env=environment)
        return answer.stdout.decode()

    def end(self):
        subprocess.run(["tmux", "-L", self.server, "kill-server"])

    def picture(self, name):
        time.sleep(2)
        with tempfile.NamedTemporaryFile("w", suffix=".html") as file:
            file.write(page(self.tmux("capture-pane", "-p", "-e")))
            file.flush()
            browser(f"file://{file.name}", name, 746, 452)


def recordings(program):
    """A picture of one queue in full for each situation."""
    for name, (recording, samples) in SITUATIONS.items():
        file = os.path.abspath(os.path.join(RECORDINGS, f"{recording}.zcrx.jsonl"))
        terminal = Terminal(program, "--recording", file)
        try:
            time.sleep(1)
            terminal.tmux("send-keys", "Enter", *["Right"] * samples)
            terminal.picture(f"top-{name}.png")
        finally:
            terminal.end()


def main():
    program = os.path.abspath(sys.argv[1])
    for tool in ["chromium", "tmux"]:
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not installed")
    recordings(program)
    if "--recordings-only" not in sys.argv:
        story(program)


def story(program):
    """The pictures of a queue whose sink holds the whole area."""
    web, fast, slow = free_port(), free_port(), free_port()
    # It takes connections in and does not read.
    deaf = socket.create_server(("127.0.0.1", 0))
    directory = tempfile.mkdtemp(prefix="zcrxd-pictures-")
    config = os.path.join(directory, "zcrxd.toml")
    with open(config, "w") as file:
        file.write(f"""
            runtime_dir = "{directory}/run"
            [web]
            listen_addresses = ["127.0.0.1:{web}"]
            [observe]
            interval = "500ms"
            [recordings]
            directory = "{directory}/recordings"
            [[queue]]
            backend = "copy"
            listen = ["127.0.0.1:{fast}"]
            area = "16MiB"
            sink = "discard"
            [[queue]]
            backend = "copy"
            listen = ["127.0.0.1:{slow}"]
            area = "256MiB"
            hold_limit = "256MiB"
            sink = "forward:127.0.0.1:{deaf.getsockname()[1]}"
        """)
    daemon = subprocess.Popen([program, "run", "--config", config], stderr=subprocess.DEVNULL)
    terminal = None
    try:
        for _ in range(300):
            try:
                until(web, lambda queues: len(queues) == 2)
                break
            except OSError:
                time.sleep(0.1)
        terminal = Terminal(program, "--runtime-dir", f"{directory}/run")
        send(fast, 120e6)
        time.sleep(5)
        send(slow, 8e6)
        url = f"http://127.0.0.1:{web}/"
        until(web, lambda queues: "in" in queues[1]["forecast"]["starvation"].get("known", ""))
        time.sleep(8)
        browser(url, "page-dark.png", 1000, 690, "--blink-settings=preferredColorScheme=0")
        until(web, lambda queues: queues[1]["forecast"]["starvation"].get("known") == "now")
        time.sleep(5)
        browser(url, "page-starving.png", 1000, 960)
        terminal.picture("top-list.png")
        terminal.tmux("send-keys", "Enter")
        terminal.picture("top-queue.png")
    finally:
        if terminal:
            terminal.end()
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(directory)


main()
