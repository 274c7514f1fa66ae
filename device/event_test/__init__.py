"""Test of rules on a video, a camera or recorded poses: the events as text or JSON, a summary, and a drawn video."""
