"""MLPerf submissions: from finished runs to the tree that the official checker accepts."""
