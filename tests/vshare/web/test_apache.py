"""Apache's virtual hosts, as it lists them and as its files have them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vshare.web.apache import virtual_hosts
from vshare.web.virtual_host import MAX_FOUND, VirtualHost

# `apache2 -S` of Apache 2.4.71 on Debian 12.
LIST = """\
VirtualHost configuration:
[::1]:8025             mail.test (/etc/apache2/sites-enabled/vhosts.conf:16)
127.0.0.1:8025         mail.test (/etc/apache2/sites-enabled/vhosts.conf:16)
192.0.2.1:8080         single.test (/etc/apache2/sites-enabled/vhosts.conf:19)
*:80                   is a NameVirtualHost
         default server 127.0.0.1 (/etc/apache2/sites-enabled/000-default.conf:1)
         port 80 namevhost 127.0.0.1 (/etc/apache2/sites-enabled/000-default.conf:1)
         port 80 namevhost drupalvm.test (/etc/apache2/sites-enabled/vhosts.conf:2)
                 alias www.drupalvm.test
                 alias cdn.drupalvm.test
                 wild alias *.wild.test
         port 80 namevhost adminer.test (/etc/apache2/sites-enabled/vhosts.conf:7)
*:443                  drupalvm.test (/etc/apache2/sites-enabled/vhosts.conf:10)
ServerRoot: "/etc/apache2"
Main DocumentRoot: "/var/www/html"
Main ErrorLog: "/var/log/apache2/error.log"
Mutex ssl-stapling: using_defaults
Mutex default: dir="/var/run/apache2/" mechanism=default
PidFile: "/var/run/apache2/apache2.pid"
Define: DUMP_VHOSTS
User: name="www-data" id=33
"""
# What it was made of.
FILES = """\
# configuration file /etc/apache2/apache2.conf:
Listen 8099
Listen 127.0.0.1:8025
listen [::]:8443 https
IncludeOptional sites-enabled/*.conf

# configuration file /etc/apache2/sites-enabled/000-default.conf:
<VirtualHost *:80>
\tServerAdmin webmaster@localhost
\t#ServerName www.example.com
\tDocumentRoot /var/www/html
</VirtualHost>

# configuration file /etc/apache2/sites-enabled/vhosts.conf:
Define tld test
<VirtualHost *:80>
  ServerName drupalvm.test
  ServerAlias www.drupalvm.test \\
      *.wild.test
  ServerAlias cdn.drupalvm.test
</VirtualHost>
<VirtualHost *:80>
  ServerName http://adminer.${tld}:80
</VirtualHost>
<virtualhost _default_:443>
  servername "drupalvm.test:443"
  SSLEngine on
</virtualhost>
<VirtualHost 127.0.0.1:8025 [::1]:8025>
  ServerName mail.test
</VirtualHost>
<VirtualHost *>
  ServerName every.test
</VirtualHost>
"""


def test_the_list() -> None:
    assert list(virtual_hosts(LIST)) == [
        VirtualHost("mail.test", 8025, "::1", default=True),
        VirtualHost("mail.test", 8025, "127.0.0.1", default=True),
        VirtualHost("single.test", 8080, "192.0.2.1", default=True),
        VirtualHost("127.0.0.1", 80, default=True),
        VirtualHost("drupalvm.test", 80),
        VirtualHost("www.drupalvm.test", 80),
        VirtualHost("cdn.drupalvm.test", 80),
        VirtualHost("*.wild.test", 80),
        VirtualHost("adminer.test", 80),
        VirtualHost("drupalvm.test", 443, ssl=True, default=True),
    ]


def test_the_files() -> None:
    assert list(virtual_hosts(FILES)) == [
        VirtualHost("drupalvm.test", 80),
        VirtualHost("www.drupalvm.test", 80),
        VirtualHost("*.wild.test", 80),
        VirtualHost("cdn.drupalvm.test", 80),
        VirtualHost("adminer.${tld}", 80),
        VirtualHost("drupalvm.test", 443, ssl=True),
        VirtualHost("mail.test", 8025, "127.0.0.1"),
        VirtualHost("mail.test", 8025, "::1"),
        VirtualHost("every.test", 8099),
        VirtualHost("every.test", 8025),
        VirtualHost("every.test", 8443),
    ]


def test_the_list_and_the_files_that_it_names() -> None:
    """The aliases of a server that is alone at its port are in its file only."""
    listed = "VirtualHost configuration:\n*:81   one.test (/a.conf:1)\n"
    file = (
        "# configuration file /a.conf:\n<VirtualHost *:81>\nServerName one.test\n"
        "ServerAlias www.one.test ${x}.test\n</VirtualHost>\n"
    )
    assert [each.name for each in virtual_hosts(listed + file)] == [
        "one.test",
        "one.test",
        "www.one.test",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "VirtualHost configuration:\n" + "*:80 a (b)\n" * 30_000,
        "VirtualHost configuration:\n" + " " * 30_000,
        "VirtualHost configuration:\n" + "x" * 30_000 + ":80",
        "<VirtualHost " * 30_000,
        "<VirtualHost *:80>\n" + "ServerAlias a b c\n" * 2_000 + "</VirtualHost>",
        "Listen 80\n" * 1_000 + "<VirtualHost * * * *>\nServerName a\n</VirtualHost>\n" * 100,
        "ServerName " + "/" * 30_000,
        "\\\n" * 15_000,
    ],
)
def test_hostile_text_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    assert len(list(virtual_hosts("# configuration file x:\n" + text))) <= MAX_FOUND
    assert time.process_time() - began < 1


_WORDS = st.sampled_from(
    ["VirtualHost configuration:", "\n", " ", "*:80", "is a NameVirtualHost", "default server",
     "port 80 namevhost a.test (b:1)", "alias x", "<VirtualHost *:80>", "<VirtualHost [::1]>",
     "</VirtualHost>", "ServerName a.test", "\n# configuration file /x:\n", "Listen 80", ":", "\0",
     "\u2028", "99999"]
)  # fmt: skip


@given(st.lists(_WORDS, max_size=40).map("".join))
def test_any_text_is_read(text: str) -> None:
    for each in virtual_hosts("# configuration file /x:\n" + text):
        assert 0 < each.port < 65_536
