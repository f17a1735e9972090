"""The demo at several seeds: is what was planted named, and is it what the hardest images show?"""
