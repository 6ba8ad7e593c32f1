"""An upstream that answers with what it was told about the client: the x-client-* fields of the request."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ShowClient(BaseHTTPRequestHandler):
    def do_GET(self):
        fields = sorted((name, value) for name, value in self.headers.items() if name.startswith("x-client-"))
        body = "".join(f"{name}: {value}\n" for name, value in fields) or "nobody\n"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), ShowClient).serve_forever()
