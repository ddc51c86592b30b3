"""The nginx and Apache snippets before a real daemon: they let through what they should, and no more."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import ROOT
from tests.e2e.test_daemon import daemon, todoku, write_config
from tests.servers.ports import free_port, wait_port
from tests.servers.tls import Certificate
from tests.servers.workplace import Workplace, find_program

NGINX = """
daemon off;
user root;
pid @HOME@/nginx.pid;
error_log @HOME@/error.log;
events { worker_connections 64; }
http {
    access_log @HOME@/access.log;
    client_body_temp_path @HOME@/body;
    proxy_temp_path @HOME@/proxy;
    fastcgi_temp_path @HOME@/fastcgi;
    uwsgi_temp_path @HOME@/uwsgi;
    scgi_temp_path @HOME@/scgi;
    include @HOME@/snippet-*.conf;
}
"""
APACHE = """
ServerRoot @HOME@
PidFile @HOME@/apache.pid
ErrorLog @HOME@/error.log
DefaultRuntimeDir @HOME@
Mutex file:@HOME@ default
ServerName localhost
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_host_module /usr/lib/apache2/modules/mod_authz_host.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
IncludeOptional @HOME@/snippet-*.conf
"""


@dataclass(frozen=True)
class Front:
    """A web server with the snippets, before a daemon. `log` is all that it wrote down."""

    confirm: httpx.AsyncClient
    desk: httpx.AsyncClient
    home: Path

    def log(self) -> str:
        return "".join(file.read_text() for file in sorted(self.home.glob("*.log")))


def render(name: str, ports: dict[str, int], certificate: Certificate) -> str:
    """A snippet with this test's ports and certificate, and nothing else changed."""
    kind = Path(name).stem
    text = (ROOT / "deploy" / name).read_text()
    upstream = {"confirm": "127.0.0.1:8081", "desk": "127.0.0.1:8080"}[kind]
    for old, new in (
        (upstream, f"127.0.0.1:{ports[f'{kind}-behind']}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{ports[kind]} ssl"),
        ("<VirtualHost *:443>", f"Listen 127.0.0.1:{ports[kind]}\n<VirtualHost *:{ports[kind]}>"),
        ("/etc/ssl/certs/todoku.pem", str(certificate.chain)),
        ("/etc/ssl/private/todoku.key", str(certificate.key)),
    ):
        text = text.replace(old, new)
    return text


@pytest.fixture
def workplace() -> Iterator[Callable[[str], Workplace]]:
    places: list[Workplace] = []

    def make(name: str) -> Workplace:
        places.append(Workplace(name))
        return places[-1]

    yield make
    for place in places:
        place.close()


def commands(server: str, home: Path) -> tuple[list[str], list[str]]:
    """How the server checks its configuration, and how it runs."""
    if server == "nginx":
        start = [find_program("nginx", "nginx-light"), "-p", str(home), "-c", str(home / "server.conf")]
        return [*start, "-t"], start
    start = [find_program("apache2", "apache2-bin"), "-d", str(home), "-f", str(home / "server.conf")]
    return [*start, "-t"], [*start, "-DFOREGROUND"]


@pytest.fixture(params=["nginx", "apache"])
async def front(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    certificate: Certificate,
    workplace: Callable[[str], Workplace],
) -> AsyncIterator[Front]:
    server: str = request.param
    ports = {name: free_port() for name in ("confirm", "desk", "confirm-behind")}
    ports["desk-behind"] = write_config(tmp_path, RELAY_PORT=9)
    config = tmp_path / "config.yaml"
    # a desk that would believe the header, were it let through
    config.write_text(
        config.read_text()
        .replace(
            'confirm: {listen: "127.0.0.1:0"}', f'confirm: {{listen: "127.0.0.1:{ports["confirm-behind"]}"}}'
        )
        .replace("desk: {listen", 'desk: {secure_cookies: true, proxy: {trusted: ["127.0.0.1"]}, listen')
    )
    subprocess.run(
        todoku(tmp_path, "user", "add", "hanako", "--password-stdin"),
        input="a long enough passphrase\n",
        text=True,
        check=True,
        capture_output=True,
    )
    place = workplace(server)
    for kind in ("confirm", "desk"):
        place.write(f"snippet-{kind}.conf", render(f"{server}/{kind}.conf", ports, certificate))
    place.write("server.conf", (NGINX if server == "nginx" else APACHE).replace("@HOME@", str(place.path)))
    check, run = commands(server, place.path)
    checked = subprocess.run(check, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stderr
    async with daemon(tmp_path, ports["desk-behind"]):
        process = place.run(*run, output=place.path / "server.out")
        try:
            for kind in ("confirm", "desk"):
                wait_port(ports[kind], gave_up=lambda: "it ended" if process.poll() is not None else "")
            trust = ssl.create_default_context(cafile=certificate.authority)
            async with (
                httpx.AsyncClient(base_url=f"https://localhost:{ports['confirm']}", verify=trust) as confirm,
                httpx.AsyncClient(base_url=f"https://localhost:{ports['desk']}", verify=trust) as desk,
            ):
                yield Front(confirm, desk, place.path)
        finally:
            place.end(process)


async def test_the_snippets_let_through_what_they_should(front: Front) -> None:
    token = "a" * 20
    page = await front.confirm.get(f"/c/{token}")
    assert page.status_code == 404
    assert "text/html" in page.headers["content-type"]
    assert "図書館" in page.text  # our own page for an unknown link, not the web server's
    assert (await front.confirm.get("/robots.txt")).text.startswith("User-agent")
    # nothing else of Todoku faces the internet
    for path in ("/", "/desk/", "/api/v1/report", "/metrics", "/healthz", "/C/x", "/c"):
        answer = await front.confirm.get(path)
        assert answer.status_code in (403, 404), path
        assert "todoku" not in answer.text.lower(), path

    login = await front.desk.get("/desk/")
    assert login.status_code == 303
    assert (await front.desk.get(login.headers["location"])).status_code == 200
    assert (await front.desk.get("/metrics")).status_code in (403, 404)
    assert (await front.desk.get("/healthz")).status_code in (403, 404)

    # a browser that says whom it is logged in as is not believed
    claimed = await front.desk.get("/desk/", headers={"X-Remote-User": "hanako"})
    assert claimed.status_code == 303
    # the link of a patron stands in no log
    assert token not in front.log()


async def test_cookies_leave_by_https_alone(front: Front) -> None:
    page = await front.desk.get("/desk/login")
    cookies = page.headers.get_list("set-cookie")
    assert cookies
    assert all("Secure" in cookie and "HttpOnly" in cookie for cookie in cookies)


async def test_a_client_cannot_choose_its_address(front: Front) -> None:
    """Guesses are counted by client: one that invents addresses is still one. Ours is the 429: nginx's own
    503 would come in any case."""
    answers = []
    for number in range(120):
        said = {"X-Forwarded-For": f"203.0.113.{number}"}
        answers.append((await front.confirm.get("/c/" + "b" * 20, headers=said)).status_code)
        if answers[-1] == 429:
            break
        if answers[-1] == 503:
            await asyncio.sleep(0.2)  # what nginx lets through in a second: 5
    assert answers[-1] == 429, answers
