"""The child's environment, proven with children."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tollkeeper.launch.environment import PLACEHOLDER, environment, node_warning, shell_lines

CA = Path("/state/ca.pem")
BUNDLE = Path("/state/bundle.pem")
URL = "http://atlas:tk_x@127.0.0.1:8080"

PROGRAMS = {
    "urllib": """
import json, urllib.request
body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", body)
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
""",
    "httpx2": """
import httpx2
body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
answer = httpx2.post("https://api.openai.com/v1/chat/completions", json=body)
print(answer.json()["choices"][0]["message"]["content"])
""",
    "requests": """
import requests
body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
answer = requests.post("https://api.openai.com/v1/chat/completions", json=body)
print(answer.json()["choices"][0]["message"]["content"])
""",
    "openai": """
import openai
answer = openai.OpenAI().chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
print(answer.choices[0].message.content)
""",
    "anthropic": """
import anthropic
answer = anthropic.Anthropic().messages.create(
    model="gpt-4o", max_tokens=100, messages=[{"role": "user", "content": "hi"}])
print(answer.content[0].text)
""",
    "google-genai": """
from google import genai
client = genai.Client()
print(client.models.generate_content(model="gpt-4o", contents="hi").text)
""",
}
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")


def child(tunnels, lab, bundle, **base: str) -> dict[str, str]:
    inherited = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | base
    return environment(
        inherited, proxy_url=tunnels.url, ca_certificate=lab.certificate, bundle=bundle, scrub=KEYS
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_clients_go_through_the_proxy_and_trust_it(program, tunnels, lab, bundle):
    command = [sys.executable, "-c", PROGRAMS[program]]

    done = subprocess.run(
        command, env=child(tunnels, lab, bundle), capture_output=True, text=True, timeout=90
    )

    assert done.stdout.strip() == "Hello from the simulated gpt-4o.", done.stderr
    assert {user for user, _ in tunnels.opened} == {"atlas:tk_secret"}


def test_inherited_variables_that_would_win_are_overwritten(tunnels, lab, bundle, tmp_path):
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
    hostile = dict.fromkeys(names, str(nothing)) | {"NO_PROXY": "*", "no_proxy": "*"}
    env = child(tunnels, lab, bundle, **hostile)

    for name in ("urllib", "requests", "httpx2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAMS[name]],
            env=env, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert "simulated" in done.stdout, done.stderr
    assert len(tunnels.opened) == 3


@pytest.mark.parametrize("program", [p for p in ("curl",) if shutil.which(p)])
def test_curl_goes_through_the_proxy_and_trusts_it(program, tunnels, lab, bundle):
    command = [program, "-sS", "--fail", "https://api.openai.com/v1/models"]

    done = subprocess.run(
        command, env=child(tunnels, lab, bundle), capture_output=True, text=True, timeout=90
    )

    assert json.loads(done.stdout)["object"] == "list", done.stderr
    assert tunnels.opened == [("atlas:tk_secret", "api.openai.com:443")]


@pytest.mark.parametrize("program", [p for p in ("git",) if shutil.which(p)])
def test_git_goes_through_the_proxy_and_trusts_it(program, tunnels, lab, bundle):
    command = [program, "ls-remote", "https://api.openai.com/some/repository"]

    done = subprocess.run(
        command, env=child(tunnels, lab, bundle), capture_output=True, text=True, timeout=90
    )

    assert "not found" in done.stderr  # the simulator's 404, so the certificate was accepted
    assert tunnels.opened


@pytest.mark.parametrize("node", [p for p in ("node",) if shutil.which(p)])
def test_node_obeys_the_variables_exactly_when_there_is_no_warning(node, tunnels, lab, bundle):
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    script = "fetch('https://api.openai.com/v1/models').then(a => console.log(a.status), () => {})"
    env = child(tunnels, lab, bundle)

    subprocess.run([node, "-e", script], env=env, capture_output=True, text=True, timeout=90)

    assert bool(tunnels.opened) == (node_warning(version) is None)


@pytest.mark.parametrize("node", [p for p in ("node",) if shutil.which(p)])
def test_node_trusts_the_ca_beside_its_own_roots(node, tunnels, lab, bundle):
    script = f"""
    const tls = require("tls");
    const to = {{host: "127.0.0.1", port: {lab.port}, servername: "api.anthropic.com"}};
    const socket = tls.connect(to, () => {{ console.log(socket.authorized); socket.end(); }});
    socket.on("error", e => console.log(e.code));
    """

    done = subprocess.run(
        [node, "-e", script],
        env=child(tunnels, lab, bundle), capture_output=True, text=True, timeout=90,
    )  # fmt: skip

    assert done.stdout.strip() == "true", done.stderr


def test_both_cases_of_every_proxy_variable_are_set_and_only_loopback_goes_direct():
    env = environment({}, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE)

    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        assert env[name] == env[name.lower()] == URL
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1"


def test_runtimes_that_replace_their_roots_get_the_bundle_and_node_the_ca_alone():
    inherited = {"SSL_CERT_DIR": "/etc/ssl/certs", "NIX_SSL_CERT_FILE": "/nix.pem"}

    env = environment(inherited, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE)

    names = "SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE CODEX_CA_CERTIFICATE GIT_SSL_CAINFO"
    names += " PIP_CERT CARGO_HTTP_CAINFO AWS_CA_BUNDLE DENO_CERT NIX_SSL_CERT_FILE"
    names += " GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
    assert {env[name] for name in names.split()} == {str(BUNDLE)}
    assert env["NODE_EXTRA_CA_CERTS"] == str(CA)
    assert "SSL_CERT_DIR" not in env
    assert "HTTPLIB2_CA_CERTS" not in env


def test_a_key_that_the_proxy_injects_is_gone_under_every_name():
    inherited = {"OPENAI_API_KEY": "sk-real-and-secret", "MY_COPY": "sk-real-and-secret", "A": "b"}

    env = environment(
        inherited, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE,
        scrub=["OPENAI_API_KEY", "ANTHROPIC_API_KEY"],
    )  # fmt: skip

    assert "sk-real-and-secret" not in env.values()
    assert env["OPENAI_API_KEY"] == env["MY_COPY"] == env["ANTHROPIC_API_KEY"] == PLACEHOLDER
    assert env["A"] == "b"


def test_a_key_that_is_not_scrubbed_stays_the_agents_own():
    env = environment({"XAI_API_KEY": "own"}, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE)

    assert env["XAI_API_KEY"] == "own"


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [(None, "900000"), ("60000", "900000"), ("3600000", "3600000"), ("soon", "900000")],
)
def test_patience_is_lengthened_and_never_shortened(inherited, expected):
    base = {} if inherited is None else {"API_TIMEOUT_MS": inherited}

    env = environment(base, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE)

    assert env["API_TIMEOUT_MS"] == expected
    assert env["CLAUDE_STREAM_FIRST_BYTE_TIMEOUT_MS"] == "900000"


def test_the_users_opencode_configuration_is_kept_beside_our_timeouts():
    mine = {"theme": "dark", "provider": {"openai": {"options": {"baseURL": "x"}}, "groq": {}}}

    env = environment(
        {"OPENCODE_CONFIG_CONTENT": json.dumps(mine)},
        proxy_url=URL, ca_certificate=CA, bundle=BUNDLE,
    )  # fmt: skip

    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    assert config["theme"] == "dark"
    assert config["provider"]["groq"] == {}
    patient = {"headerTimeout": False, "timeout": False}
    assert config["provider"]["openai"]["options"] == {"baseURL": "x"} | patient
    assert config["provider"]["anthropic"]["options"] == patient


@pytest.mark.parametrize("given", ["{broken", "[1]", '"text"'])
def test_an_opencode_configuration_that_we_cannot_merge_is_left_alone(given):
    env = environment(
        {"OPENCODE_CONFIG_CONTENT": given}, proxy_url=URL, ca_certificate=CA, bundle=BUNDLE
    )

    assert env["OPENCODE_CONFIG_CONTENT"] == given


def test_evaluated_shell_lines_make_the_same_environment(tmp_path):
    before = {"PATH": os.environ["PATH"], "SSL_CERT_DIR": "/x", "KEPT": "1", "CHANGED": "old"}
    nasty = 'it\'s $(touch pwned) `id` "q" ; \n & \\ *'
    after = {"PATH": os.environ["PATH"], "KEPT": "1", "CHANGED": nasty, "NEW": "2"}
    lines = shell_lines(before, after)
    script = "\n".join(
        [*lines, f"{sys.executable} -c 'import os,json; print(json.dumps(dict(os.environ)))'"]
    )

    done = subprocess.run(
        ["/bin/sh", "-c", script], env=before, cwd=tmp_path, capture_output=True, text=True
    )

    seen = json.loads(done.stdout)
    assert {name: seen.get(name) for name in after} == after
    assert "SSL_CERT_DIR" not in seen
    assert not any("KEPT" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_shell_name_is_never_written_to_a_shell():
    assert shell_lines({}, {"a b; rm -rf /": "x", "BASH_FUNC_f%%": "() { :; }"}) == []


@pytest.mark.parametrize(
    ("version", "warns"),
    [
        ("v20.20.2", True),
        ("v22.20.0", True),
        ("v22.21.0", False),
        ("v23.11.0", True),
        ("v24.0.0", False),
        ("26.1.0", False),
        ("nonsense", False),
    ],
)
def test_node_that_ignores_proxy_variables_is_warned_of(version, warns):
    assert (node_warning(version) is not None) == warns
