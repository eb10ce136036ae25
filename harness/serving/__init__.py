"""What model servers want on disk: the formats, the folder of versions, and the programs that go into it."""
