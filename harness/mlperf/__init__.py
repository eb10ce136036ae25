"""The facts of MLPerf, each in one place: scenarios, conf files, logs, the rules of a round."""
