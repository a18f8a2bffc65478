// What is said after a decision of one's own.

import { toast } from "../elements/toast.js";

/** detail: of the card's "decided". */
export const toastOf = ({ word, settled, title }) => toast(settled ? `${word}: ${title}` : `Your vote counts: ${title}`, { state: word === "Rejected" ? "failed" : "completed" });
