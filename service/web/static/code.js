// The lines that repeat a request from a program.

const FORMATS = { classify: "", segment: "overlay", detect: "overlay" };

// Return the curl command.
export function curl(address, task, model, file, key) {
  const output = FORMATS[task] ? ` -F format=${FORMATS[task]} -o ${task}.png` : "";
  const authorised = key ? ' -H "Authorization: Bearer $TWINS_KEY"' : "";
  return `curl${authorised} -F image=@${quoted(file)} -F model=${model}${output} ${address}/${task}`;
}

// Return the Python lines.
export function python(address, task, model, file, key) {
  const shown = { classify: "predictions", segment: "classes", detect: "detections" }[task];
  const headers = key ? ', headers={"Authorization": f"Bearer {key}"}' : "";
  return [
    "import httpx",
    "",
    `with open(${JSON.stringify(file)}, "rb") as image:`,
    `    answer = httpx.post("${address}/${task}", files={"image": image}, data={"model": "${model}"}${headers})`,
    `for each in answer.raise_for_status().json()["${shown}"]:`,
    "    print(each)",
  ].join("\n");
}

// Return a file name as one word of a shell command.
function quoted(name) {
  return /^[\w.\-/]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
