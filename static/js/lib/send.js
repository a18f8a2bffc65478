// A change sent to the API as the signed-in member.

/** {body} when it is done, else {problem: words for people, status}. */
export async function send(method, url, body) {
  const token = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token };
  try {
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    const said = answer.status === 204 ? null : await answer.json();
    return answer.ok ? { body: said } : { problem: answer.status === 401 ? "you are signed out" : said.detail.replace(/\.$/, ""), status: answer.status };
  } catch {
    return { problem: "the server did not answer", status: 0 };
  }
}
