// A plan's story as a page of its own.

import { bindStory } from "./explain.js";

bindStory(document.querySelector(".story"));
