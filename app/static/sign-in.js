// A sign-in link: its fragment, which no server ever sees, goes into the field and out of the address.

const token = location.hash.slice(1);
if (token && !document.getElementById(token)) {
  document.getElementById("token").value = token;
  history.replaceState(null, "", location.pathname + location.search);
}
