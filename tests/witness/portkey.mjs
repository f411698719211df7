// What Portkey's gateway needs on today's Node: it adds headers to replies of fetch, whose headers are immutable there.
const fetchIt = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const reply = await fetchIt(...request);
  return new Response(reply.body, { status: reply.status, statusText: reply.statusText, headers: reply.headers });
};
