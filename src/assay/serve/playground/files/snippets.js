// The request as a command line and as a program; the key is read from the environment.

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** For a shell. */
export function curl(url, body, hasKey) {
  const lines = [`curl ${quoted(url)}`, "  -H 'Content-Type: application/json'"];
  if (hasKey) lines.push('  -H "Authorization: Bearer $ASSAY_API_KEY"');
  lines.push(`  -d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n");
}

/** For Python, with nothing to install. */
export function python(url, body, hasKey) {
  const headers = ['"Content-Type": "application/json"'];
  if (hasKey) headers.push('"Authorization": f"Bearer {os.environ[\'ASSAY_API_KEY\']}"');
  return [
    "import json",
    ...(hasKey ? ["import os"] : []),
    "from urllib.request import Request, urlopen",
    "",
    `body = ${literal(body, "")}`,
    `headers = {${headers.join(", ")}}`,
    `request = Request(${JSON.stringify(url)}, json.dumps(body).encode(), headers)`,
    "with urlopen(request) as answer:",
    '    print(json.load(answer)["rewards"])',
    "",
  ].join("\n");
}

// Strings of JSON are strings of Python, too, but for halves of pairs, which no field gives.
function literal(value, indent) {
  const deeper = `${indent}    `;
  if (Array.isArray(value)) {
    return `[\n${value.map((one) => `${deeper}${literal(one, deeper)},\n`).join("")}${indent}]`;
  }
  if (value !== null && typeof value === "object") {
    const pairs = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one, deeper)}`);
    if (Object.values(value).every((one) => typeof one === "string")) return `{${pairs.join(", ")}}`;
    return `{\n${pairs.map((pair) => `${deeper}${pair},\n`).join("")}${indent}}`;
  }
  return value === true ? "True" : value === false ? "False" : JSON.stringify(value);
}
