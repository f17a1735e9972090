"""Speed, measured side by side in one run on one machine; no ratio is printed where the results differ."""
