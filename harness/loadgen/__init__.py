"""Inside the measured process: LoadGen, the query sample library, the systems under test, the probe."""
