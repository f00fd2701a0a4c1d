#!/usr/bin/env bash
# Stands in for a coding agent: says, in the words of its own stream, when its first instruction ran.
export LC_ALL=C
echo "{\"type\":\"assistant\",\"message\":{\"id\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"$EPOCHREALTIME\"}]}}"
echo '{"type":"result","is_error":false,"result":"done","modelUsage":{}}'
