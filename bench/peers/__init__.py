"""Other mail systems doing the same work with the same message and the same sink."""
