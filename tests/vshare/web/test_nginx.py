"""nginx's configuration, as distributions and development boxes write it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vshare.web.nginx import virtual_hosts
from vshare.web.virtual_host import MAX_FOUND, VirtualHost

# `nginx -T` of nginx 1.22 on Debian 12, shortened.
DEBIAN = r"""# configuration file /etc/nginx/nginx.conf:
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;

events {
	worker_connections 768;
	# multi_accept on;
}

http {
	sendfile on;
	include /etc/nginx/mime.types;
	log_format main '$remote_addr - [$time_local] "$request" {;} '
		'$status';
	gzip on;
	include /etc/nginx/conf.d/*.conf;
	include /etc/nginx/sites-enabled/*;
}

#mail {
#	server {
#		listen     localhost:110;
#		server_name not.mail.test;
#	}
#}
stream {
	server { listen 3306; server_name not.stream.test; }
}

# configuration file /etc/nginx/mime.types:

types {
    text/html                                        html htm shtml;
}

# configuration file /etc/nginx/conf.d/odd.conf:
server { include snippets/ports.conf; server_name shop.test www.shop.test *.shop.test "~^(?<who>[a-z]{2,9})\.shop\.test$" _ ""; }
server { listen 127.0.0.1:8082; server_name admin.test; }
server { listen [::1]:8083 default_server; server_name six.test; return 301 "https://{x};}/"; }
server { listen unix:/run/sock; server_name sock.test; }
server { server_name $hostname; }
server { listen 443 quic reuseport; listen 192.0.2.1; server_name quic.test; }
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
upstream app { server 127.0.0.1:9000; }

# configuration file /etc/nginx/snippets/ports.conf:
listen 8081; listen *:8443 ssl;

# configuration file /etc/nginx/sites-enabled/default:
server {
	listen 80 default_server;
	listen [::]:80 default_server;

	# SSL configuration
	#
	# listen 443 ssl default_server;
	root /var/www/html;
	index index.html index.htm index.nginx-debian.html;
	server_name _;
	location / {
		try_files $uri $uri/ =404;
	}
}
# configuration file /etc/nginx/not-included.conf:
server { server_name not.included.test; }
"""  # noqa: E501

# As Homestead writes it.
HOMESTEAD = r"""# configuration file /etc/nginx/nginx.conf:
http { include /etc/nginx/sites-enabled/*; }
# configuration file /etc/nginx/sites-enabled/homestead.test:
server {
    listen 80;
    listen 443 ssl http2;
    server_name .homestead.test;
    root "/home/vagrant/code/public";
    index index.html index.htm index.php;
    charset utf-8;
    location / {
        try_files $uri $uri/ /index.php?$query_string;
    }
    location ~ \.php$ {
        fastcgi_split_path_info ^(.+\.php)(/.+)$;
        fastcgi_param SCRIPT_FILENAME $document_root${fastcgi_script_name};
    }
    location ~ /\.ht { deny all; }
    ssl_certificate     /etc/ssl/certs/homestead.test.crt;
}
"""

# nginx.conf of Red Hat's package has a server itself.
RED_HAT = """# configuration file /etc/nginx/nginx.conf:
include /usr/share/nginx/modules/*.conf;
http {
    include             /etc/nginx/mime.types;
    include /etc/nginx/conf.d/*.conf;
    server {
        listen       80;
        listen       [::]:80;
        server_name  _;
        include /etc/nginx/default.d/*.conf;
        error_page 404 /404.html;
        location = /404.html {
        }
    }
}
# configuration file /etc/nginx/conf.d/app.conf:
server { ssl on; listen 8443; server_name App.Test; }
"""


def test_debian() -> None:
    assert list(virtual_hosts(DEBIAN)) == [
        *(
            VirtualHost(name, port, ssl=ssl)
            for port, ssl in ((8081, False), (8443, True))
            for name in (
                "shop.test",
                "www.shop.test",
                "*.shop.test",
                r"~^(?<who>[a-z]{2,9})\.shop\.test$",
                "_",
                "",
            )
        ),
        VirtualHost("admin.test", 8082, "127.0.0.1"),
        VirtualHost("six.test", 8083, "::1", default=True),
        VirtualHost("$hostname", 80),
        VirtualHost("quic.test", 80, "192.0.2.1"),
        VirtualHost("_", 80, default=True),
        VirtualHost("_", 80, default=True),
    ]


def test_homestead() -> None:
    assert list(virtual_hosts(HOMESTEAD)) == [
        VirtualHost(".homestead.test", 80),
        VirtualHost(".homestead.test", 443, ssl=True),
    ]


def test_red_hat() -> None:
    assert list(virtual_hosts(RED_HAT)) == [
        VirtualHost("App.Test", 8443, ssl=True),
        VirtualHost("_", 80),
        VirtualHost("_", 80),
    ]


def test_without_the_main_file_each_file_counts() -> None:
    text = HOMESTEAD.partition("\n")[2].partition("\n")[2]
    assert {each.name for each in virtual_hosts(text)} == {".homestead.test"}


@pytest.mark.parametrize(
    "listen",
    ["", "0", "99999", "80:0", ":80", "[::1", "app.test:x", "\u0664\u0662", "1" * 99, "{", "a b:1"]
)  # fmt: skip
def test_listen_that_is_none(listen: str) -> None:
    text = f'# configuration file /x:\nserver {{ listen "{listen}" x; server_name a.test; }}'
    assert not list(virtual_hosts(text))


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("a.conf", True), ("*.conf", True), ("a*", True), ("*", True), ("a*f", True),
     ("/etc/*/a.conf", True), ("a.con*conf", False), ("*/a.conf", False), ("b*", False),
     ("*.con", False), ("/etc/*", False)],
)  # fmt: skip
def test_what_is_included(pattern: str, fits: bool) -> None:
    text = (
        f"# configuration file /etc/nginx/nginx.conf:\nhttp {{ include {pattern}; }}\n"
        "# configuration file /etc/nginx/a.conf:\nserver { server_name a.test; }\n"
    )
    assert bool(list(virtual_hosts(text))) is fits


def test_files_that_include_each_other_end() -> None:
    text = (
        "# configuration file /etc/nginx/nginx.conf:\nhttp { include a; include a*; }\n"
        "# configuration file /etc/nginx/a:\nserver { server_name a.test; }\n"
        "include nginx.conf; include a; include *;\n"
    )
    found = list(virtual_hosts(text))
    assert set(found) == {VirtualHost("a.test", 80)}
    assert len(found) <= MAX_FOUND


@pytest.mark.parametrize(
    "text",
    [
        "{" * 30_000,
        "server {" * 4_000,
        "a {" * 4_000 + "}" * 4_000,
        "${" * 15_000,
        '"' + r"\"" * 15_000,
        "'" * 30_001,
        "server { server_name " + "a.test " * 4_000 + ";}",
        "server { listen 80; server_name a; }" * 1_000,
        "# configuration file x:\n" * 1_500,
        "".join(f"# configuration file /a/{at}:\ninclude /a/*{at};\n" for at in range(1_000)),
        "include x; " * 2_500,
        "\\" * 30_001,
    ],
)
def test_hostile_text_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    main = "# configuration file /a/nginx.conf:\nhttp { include x; include /a/*; }\n"
    for before in ("# configuration file /a/x:\n", main + "# configuration file /a/x:\n"):
        assert len(list(virtual_hosts(before + text))) <= MAX_FOUND
    assert time.process_time() - began < 1


_WORDS = st.sampled_from(
    ["server", "http", "{", "}", ";", " ", "listen", "80", "server_name", "a.test", "include", "x",
     "*", "\n# configuration file /nginx.conf:\n", "\n# configuration file /x:\n", '"', "'", "\\",
     "${", "#", "ssl", "\0", "\u2028"]
)  # fmt: skip


@given(st.lists(_WORDS, max_size=40).map("".join))
def test_any_text_is_read(text: str) -> None:
    for each in virtual_hosts("# configuration file /nginx.conf:\n" + text):
        assert 0 < each.port < 65_536
