"""Hardware- and compiler-aware architecture search over revisions of a ResNet-50."""
