"""Every performance figure of the README comes from here: ratios measured side by side in one run."""
