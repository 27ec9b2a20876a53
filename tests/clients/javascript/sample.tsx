// Uses the package's types as an application does; `tsc` must accept it, and refuse what is marked.

import { Channel, ChannelError, type ChannelOptions, type Generation } from "twowire-client";
import { type Checkpoint, type Message, useTwowire } from "twowire-client/react";

const options: ChannelOptions = { baseUrl: "http://127.0.0.1:8000", ticket: "/api/ticket", onState: (state) => console.log(state) };

export async function ask(messages: Message[]): Promise<string> {
  const channel = new Channel(options);
  const chat: Generation = channel.create({ model: "m", messages }, { resumeGrace: 30 });
  try {
    for await (const chunk of chat) console.log(chunk.choices[0]?.delta.content?.length);
    return `${chat.text} ${chat.usage?.total_tokens.toFixed()} ${chat.toolCalls[0]?.function?.name}`;
  } catch (error) {
    if (error instanceof ChannelError) return `${error.status} ${error.code}`;
    throw error;
  } finally {
    channel.close();
  }
}

export function Page({ saved }: { saved: Checkpoint | null }) {
  const { messages, text, status, error, send, stop, resume, regenerate } = useTwowire({
    url: "https://models.example.com",
    ticket: (signal) => fetch("/api/ticket", { method: "POST", signal }),
    model: "m",
    body: { temperature: 0 },
  });
  // @ts-expect-error: there is no such status
  if (status === "done") return null;
  return (
    <form onSubmit={() => void send("Hello")}>
      {messages.map(({ role, content }) => <p key={role}>{typeof content === "string" ? content : ""}</p>)}
      <output>{text}{error?.message}</output>
      <button type="button" onClick={stop}>Stop</button>
      <button type="button" onClick={() => void (saved ? resume(saved) : regenerate())}>Again</button>
    </form>
  );
}

export function Wrong() {
  // @ts-expect-error: the model is missing
  useTwowire({ url: "https://models.example.com" });
  // @ts-expect-error: a key is a text
  return new Channel({ apiKey: 1 }) === null;
}
