import EspalierBasics
import TestSupport
import Testing

/// What the verbs that run models say of options that mean nothing, before they open anything.
@Suite struct RunningUsageTests {
  @Test(arguments: [
    ("evaluate m", "Give something to measure on"), ("evaluate m --text t --stride 4", "--stride needs --protocol"),
    ("evaluate m --text t --window 1", "--window must be at least 2."),
    ("evaluate m --text t --limit 0", "--limit must be at least 1."),
    ("evaluate m --text t --answer-tokens 0", "--answer-tokens must be at least 1."),
    ("evaluate m --text t --threads 2000", "--threads must be from 1 to 1024."),
    ("evaluate m --text t --max-kl much", "--max-kl much is not a number"),
    ("compare m --against n --text t --min-same-top 98", "a percentage has its sign: 98%"),
    ("compare m --against n --text t --max-perplexity-rise 2", "a percentage has its sign: 2%"),
    ("compare m --against n --text t --max-perplexity-rise 1", "a percentage has its sign: 1%"),
    ("generate m", "Give --prompt or --prompt-file."), ("generate m --prompt a --system b", "--system needs --chat."),
    ("generate m --prompt a --temperature=-1", "--temperature must be 0 or more."),
    ("generate m --prompt a --top-k 0", "--top-k must be at least 1."),
    ("generate m --prompt a --top-p 1.5", "--top-p must be above 0 and at most 1."),
    ("generate m --prompt a --min-p 2", "--min-p must be from 0 to 1."),
    ("generate m --prompt a --repetition-penalty 0", "--repetition-penalty must be above 0."),
    ("generate m --prompt a --max-tokens 0", "--max-tokens must be at least 1."),
    ("tokenize m", "Give a text, --jsonl, --decode or --count FILE."),
    ("convert m -o out --dtype f8", "--dtype f8 is not one of f32, f16, bf16."),
    ("convert m -o out --shard-size 1kB", "--shard-size 1kB is not a size from 64 KiB"),
    ("convert m -o ..", "--output needs the name of a folder."),
  ])
  func whatIsWrongIsSaid(_ command: String, _ message: String) throws {
    let outcome = try Program.run(command.split(separator: " ").map(String.init))
    #expect(outcome.code == 2 && outcome.output.isEmpty && outcome.errors.contains(message), "\(outcome)")
  }

  @Test(arguments: [
    ("--search", "--search needs --search-text."), ("--search-text t", "--search-text needs --search."),
    ("--search --search-text t --search-budget 0", "--search-budget must be at least 1."),
    ("--search --search-text t --search-window 1", "--search-window must be at least 2."),
    ("--search --search-text t --search-limit 0", "--search-limit must be at least 1."),
  ])
  func searchesSayWhatIsWrong(_ options: String, _ message: String) throws {
    try withTemporaryFolder { folder in
      try write("merge_method: linear", to: "\(folder)/r.yml")
      let words = ["merge", "\(folder)/r.yml", "-o", "\(folder)/out"] + options.split(separator: " ").map(String.init)
      let outcome = try Program.run(words)
      #expect(outcome.code == 2 && outcome.output.isEmpty && outcome.errors.contains(message), "\(outcome)")
    }
  }

  @Test func linesThatAreNoneAreNamed() throws {
    let outcome = try Program.shell(
      "printf '\"a\"\\n3\\n' | \"$espalier\" tokenize '\(packageFolder)/Models/base' --jsonl")
    #expect(outcome.code == 1 && outcome.errors.contains("line 2: expected a JSON string"), "\(outcome)")
    let decoded = try Program.shell(
      "printf '[1]\\n{}\\n' | \"$espalier\" tokenize '\(packageFolder)/Models/base' --decode")
    #expect(decoded.code == 1 && decoded.errors.contains("line 2: expected an array of ids"), "\(decoded)")
  }

  @Test func anEmptyStopStringIsRefused() throws {
    let outcome = try Program.run("generate", "m", "--prompt", "a", "--stop", "")
    #expect(outcome.code == 2 && outcome.errors.contains("--stop needs a text."), "\(outcome)")
  }

  /// The lines before a wrong one have come out, and of the wrong one its number and what is wrong are said.
  @Test func goodLinesComeOutBeforeABadOne() throws {
    for bad in ["3", ""] {
      let outcome = try Program.shell(
        """
        printf '%s\\n' '"a"' '"b"' '\(bad)' '"c"' | "$espalier" tokenize '\(packageFolder)/Models/base' --jsonl
        """)
      #expect(outcome.code == 1 && outcome.errors.contains("line 3: "), "\(outcome)")
      #expect(try outcome.events.count == 2, "\(outcome)")
    }
    let decoded = try Program.shell(
      "printf '[1]\\n[1, 99999999]\\n' | \"$espalier\" tokenize '\(packageFolder)/Models/base' --decode")
    #expect(decoded.code == 1 && decoded.errors.contains("line 2: the id 99999999 is no token"), "\(decoded)")
    #expect(decoded.output.split(separator: "\n").count == 1, "\(decoded)")
  }

  /// A line is answered before the next one is written.
  @Test func aLineIsAnsweredAtOnce() throws {
    try withTemporaryFolder { folder in
      let outcome = try Program.shell(
        """
        cd '\(folder)' && mkfifo in out
        "$espalier" tokenize '\(packageFolder)/Models/base' --jsonl < in > out &
        exec 3> in 4< out
        for text in a b; do printf '"%s"\\n' $text >&3; read -r answer <&4; echo "$answer"; done
        exec 3>&-
        wait
        """)
      #expect(try outcome.code == 0 && outcome.events.count == 2, "\(outcome)")
    }
  }

  @Test func aLongListOfProblemsIsCut() throws {
    try withTemporaryFolder { folder in
      try write(String(repeating: "{}\n", count: 50), to: "\(folder)/bad.jsonl")
      let outcome = try Program.run("evaluate", "m", "--choices", "\(folder)/bad.jsonl")
      #expect(outcome.code == 1 && outcome.errors.contains("line 20:") && !outcome.errors.contains("line 21:"))
      #expect(outcome.errors.hasSuffix("and 30 more\n50 errors\n"), "\(outcome)")
    }
  }

  @Test func aPromptIsUTF8() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([0x61, 0xFF], to: "\(folder)/prompt")
      let outcome = try Program.run(
        "generate", "\(packageFolder)/Models/base", "--prompt-file", "\(folder)/prompt", "--max-tokens", "1")
      #expect(outcome.code == 1 && outcome.errors.contains("not valid UTF-8"), "\(outcome)")
    }
  }

  @Test func forwardDoesNotWriteOverItsInputs() throws {
    try withTemporaryFolder { folder in
      try TestTensor.write([TestTensor("input_ids", [1, 1], [1])], to: "\(folder)/in")
      let before = try FileSystem.read("\(folder)/in")
      let outcome = try Program.run(
        "forward", "\(packageFolder)/Models/base", "--inputs", "\(folder)/in", "-o", "\(folder)/./in", "--force")
      #expect(outcome.code == 1 && outcome.errors.contains("inputs are never written to"), "\(outcome)")
      #expect(try FileSystem.read("\(folder)/in") == before)
    }
  }

  @Test func forwardReplacesNothing() throws {
    try withTemporaryFolder { folder in
      try write("mine", to: "\(folder)/out")
      let outcome = try Program.run(
        "forward", "\(packageFolder)/Models/base", "--inputs", "\(folder)/none", "-o", "\(folder)/out")
      #expect(outcome.code == 1 && outcome.errors.contains("the output exists already"), "\(outcome)")
      try TestTensor.write([TestTensor("inputs", [1], [1])], to: "\(folder)/in")
      for (name, message) in [("in", "neither input_ids nor pixel_values"), ("none", "no such file")] {
        let outcome = try Program.run(
          "forward", "\(packageFolder)/Models/base", "--inputs", "\(folder)/\(name)", "-o", "\(folder)/new")
        #expect(outcome.code == 1 && outcome.errors.contains(message), "\(outcome)")
      }
    }
  }
}
