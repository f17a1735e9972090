"""Do the p-values hold, and are as many failure modes found as there are? On classes whose truth is known."""
