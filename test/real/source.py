"""A source whose pages depend on nothing but their number: two pipelines that ask it get the same users."""
import http.server
import threading
import time
import urllib.request

import requests

from comparison import compare, settle

PAGES = 6


class Source:
    """In front of `millrace randomuser` on `port`: the n-th request gets page n of one seed; after `pages` it is the last
    one again and again, which changes nothing."""

    def __init__(self, port, pages, results=50, seed="millrace"):
        self.asked, self.pages, self.rows = 0, pages, pages * results
        source = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                source.asked += 1
                url = f"http://127.0.0.1:{port}/api/?results={results}&seed={seed}&page={min(source.asked, pages)}"
                body = urllib.request.urlopen(url, timeout=10).read()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()


def fetch_pages(pipeline, source, seconds=180):
    """Runs the step, whatever its schedule, until every page has been asked for."""
    deadline = time.monotonic() + seconds
    while source.asked < source.pages:
        assert time.monotonic() < deadline, f"{source.asked} of {source.pages} pages asked for: {pipeline.text[-2000:]}"
        requests.post(pipeline.url("/api/v1/dags/users/dagRuns"), json={}, timeout=10)
        time.sleep(0.2)


def whole_result(pipeline, source, seconds=180):
    """All users of the source, everywhere, row by row; gives the table: {id: row}."""
    fetch_pages(pipeline, source, seconds)
    rows = settle(pipeline, "users", seconds)
    assert len(rows) == source.rows + 1
    return compare(pipeline, rows)
