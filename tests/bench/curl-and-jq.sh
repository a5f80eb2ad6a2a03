#!/bin/bash
# What people paste into a workflow where the action is not to be had, after PyPI's "the manual way": the peer that `make bench`
# measures. A step runs it with `bash -e`.

# The ID token.
reply=$(curl -sS --fail -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=pypi")
id_token=$(jq -er .value <<<"$reply")

# The API token for it.
reply=$(curl -sS --fail -d "{\"token\": \"$id_token\"}" "$INDEX/_/oidc/mint-token")
api_token=$(jq -er .token <<<"$reply")

echo "::add-mask::$api_token"
echo "api-token=$api_token" >>"$GITHUB_OUTPUT"
