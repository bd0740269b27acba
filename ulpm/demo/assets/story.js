function openStory() { setMode("story"); }
