"""Tests of claims: what happens to an answer when its text or its picture is changed."""
