from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
import vagrant

from tunnel.errors import VshareError
from vshare import find_vagrant
from vshare.find_vagrant import choose, error_text, find, find_root, parse_ports, parse_ssh_config
from vshare.machine import ForwardedPort, known_hosts_file

pytestmark = pytest.mark.programs

# As printed by Vagrant 2.3.4.
STATUS = """\
1795305297,web,metadata,provider,libvirt
1795305297,db,metadata,provider,libvirt
1795305297,web,provider-name,libvirt
1795305297,web,state,running
1795305297,web,state-human-short,running
1795305297,web,state-human-long,The Libvirt domain is running. To stop it%!(VAGRANT_COMMA) you
1795305297,db,provider-name,libvirt
1795305297,db,state,not_created
1795305297,db,state-human-short,not created
1795305297,db,state-human-long,The Libvirt domain is not created. Run `vagrant up` to create it.
1795305297,,ui,info,Current machine states:\\n\\nweb                       not created (libvirt)
"""
NO_ENVIRONMENT = """\
1795305304,,ui,error,A Vagrant environment or target machine is required to run this\\ncommand.
1795305304,,error-exit,Vagrant::Errors::NoEnvironmentError,A Vagrant environment or target machine\
 is required to run this\\ncommand. Run `vagrant init` to create a new Vagrant environment. Or%!\
(VAGRANT_COMMA)\\nget an ID of a target machine\\n\\nmore
"""
LIBVIRT_SSH = """\
Host web
  HostName 192.0.2.9
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile /home/ann/.vagrant.d/insecure_private_key
  IdentitiesOnly yes
  LogLevel FATAL
"""
VIRTUALBOX_SSH = """\
Host default
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/ann/my machines/private_key"
  IdentityFile /home/ann/.ssh/second
  IdentitiesOnly yes
"""
VIRTUALBOX_PORTS = """\
1505000000,default,metadata,provider,virtualbox
1505000000,,ui,info,The forwarded ports for the machine are listed below.
1505000000,,ui,info,    22 (guest) => 2222 (host)
1505000000,default,forwarded_port,22,2222
1505000000,default,forwarded_port,80,8080
"""


def machines(text: str = STATUS) -> list[vagrant.Status]:
    parsed = vagrant.Vagrant()._parse_status(text)  # type: ignore[no-untyped-call]
    return [each for each in parsed if each.name]


def test_the_one_that_runs_is_chosen() -> None:
    assert choose(machines(), None).name == "web"
    assert choose(machines(), "web").provider == "libvirt"


@pytest.mark.parametrize(
    ("status", "name", "text", "hint"),
    [
        (STATUS, "db", "'db' is not running, but not_created", "vagrant up db"),
        (STATUS, "api", "no machine 'api'", "web (running), db (not_created)"),
        (STATUS.replace("running", "poweroff"), None, "web (poweroff)", "vagrant up NAME"),
    ],
)
def test_what_cannot_be_shared(status: str, name: str | None, text: str, hint: str) -> None:
    with pytest.raises(VshareError) as caught:
        choose(machines(status), name)
    assert text in caught.value.text
    assert hint in caught.value.hint


def test_several_that_run_and_none_that_is_named() -> None:
    with pytest.raises(VshareError) as caught:
        choose(machines(STATUS.replace("not_created", "running")), None)
    assert caught.value.text == "several machines are running: web, db"
    assert "such as `vshare up web`; or all of them: `vshare up web db`" in caught.value.hint


def test_ssh_config_of_libvirt() -> None:
    ssh = parse_ssh_config(LIBVIRT_SSH)
    assert (ssh.host, ssh.port, ssh.user, ssh.known_hosts) == ("192.0.2.9", 22, "vagrant", None)
    assert ssh.proxy_command is None


def test_ssh_config_of_virtualbox() -> None:
    ssh = parse_ssh_config(VIRTUALBOX_SSH)
    assert (ssh.host, ssh.port) == ("127.0.0.1", 2222)
    assert ssh.key_files == (
        Path("/home/ann/my machines/private_key"),
        Path("/home/ann/.ssh/second"),
    )


def test_ssh_config_that_checks_and_goes_elsewhere() -> None:
    text = LIBVIRT_SSH.replace("Checking no", "Checking yes")
    ssh = parse_ssh_config(text + "  ProxyCommand ssh 'host' -W %h:%p\n")
    assert ssh.known_hosts == known_hosts_file()
    assert ssh.proxy_command == "ssh 'host' -W %h:%p"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Host x\n  HostName\n",
        "HostName x\nPort twenty",
        "HostName x\nPort 65536",
        "HostName x\nPort 2" + "0" * 5000,
    ],
)
def test_ssh_config_that_says_nothing(text: str) -> None:
    with pytest.raises(VshareError, match="ssh-config"):
        parse_ssh_config(text)


def test_ports() -> None:
    assert parse_ports(VIRTUALBOX_PORTS) == (ForwardedPort(22, 2222), ForwardedPort(80, 8080))
    assert parse_ports("") == ()
    assert parse_ports("1,default,forwarded_port,22,65536\n1,default,forwarded_port,0,22") == ()


def test_errors_are_one_line() -> None:
    assert error_text(NO_ENVIRONMENT) == (
        "A Vagrant environment or target machine is required to run this command. Run `vagrant"
        " init` to create a new Vagrant environment. Or, get an ID of a target machine"
    )
    assert error_text("rubbish") == ""


def test_the_environment_is_found_in_a_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAGRANT_CWD", raising=False)
    monkeypatch.delenv("VAGRANT_VAGRANTFILE", raising=False)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(VshareError) as caught:
        find_root(deep)
    for way in ("Vagrant environment", "--domain", "--target"):
        assert way in caught.value.hint
    (tmp_path / "Vagrantfile").touch()
    assert find_root(deep) == tmp_path


def environment(tmp_path: Path) -> Path:
    if shutil.which("vagrant") is None:
        pytest.skip("no vagrant here")
    (tmp_path / "Vagrantfile").write_text(
        'Vagrant.configure("2") do |config|\n  config.vm.box = "none/none"\n'
        '  config.vm.define "web"\n  config.vm.define "db"\nend\n'
    )
    return tmp_path


def test_real_vagrant_nothing_is_running(tmp_path: Path) -> None:
    with pytest.raises(VshareError, match="no machine is running: web \\(not_created\\)"):
        asyncio.run(find(directory=environment(tmp_path)))


def test_real_vagrant_a_broken_vagrantfile(tmp_path: Path) -> None:
    environment(tmp_path)
    (tmp_path / "Vagrantfile").write_text("this is not Ruby (")
    with pytest.raises(VshareError, match="`vagrant status --machine-readable` failed: "):
        asyncio.run(find(directory=tmp_path))


def test_real_vagrant_is_ended_when_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path)
    (tmp_path / "Vagrantfile").write_text("sleep 100")
    monkeypatch.setattr(find_vagrant, "VAGRANT_TIMEOUT_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(VshareError, match="did not answer"):
        asyncio.run(find(directory=tmp_path))
    assert time.monotonic() - start < 10


def test_no_vagrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Vagrantfile").touch()
    monkeypatch.setattr(vagrant, "get_vagrant_executable", lambda: None)
    with pytest.raises(VshareError, match="`vagrant` was not found"):
        asyncio.run(find(directory=tmp_path))
