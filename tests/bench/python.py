"""The exchange with Python's own library and nothing else: a peer that `make bench` measures where there is a python3."""

import json
import os
from urllib.request import Request, urlopen


def ask(request):
    with urlopen(request, timeout=30) as reply:
        return json.load(reply)


authorization = {"Authorization": "bearer " + os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}
id_token = ask(Request(os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=pypi", headers=authorization))["value"]

body = json.dumps({"token": id_token}).encode()
api_token = ask(Request(os.environ["INDEX"] + "/_/oidc/mint-token", data=body))["token"]

print("::add-mask::" + api_token)
with open(os.environ["GITHUB_OUTPUT"], "a") as step_output:
    step_output.write("api-token=" + api_token + "\n")
