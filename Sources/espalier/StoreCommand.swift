import ArgumentParser
import EspalierBasics
import EspalierExecution
import EspalierRecipes

struct Store: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Keeps models in a folder where what they share is there once.",
    discussion: """
      A file that is there already takes nothing; a fine-tune is kept as what differs from the models that it is like,
      which are found from a few numbers of each tensor. Models in a store are read by every verb as STORE/models/NAME.
      Several programs may use a store at once; one that is ended at any point leaves a store that is whole.

      EXAMPLES
        espalier store add shelf base
        espalier store add shelf tuned --name tuned-1
        espalier store list shelf
        espalier generate shelf/models/tuned-1 --prompt "Hello"
        espalier store get shelf tuned-1 -o tuned
        espalier store remove shelf tuned-1
        espalier store gc shelf
        espalier store check shelf
      """,
    subcommands: [Add.self, Get.self, List.self, Remove.self, Collect.self, Check.self])

  struct Place: ParsableArguments {
    @Argument(help: "The store's folder.", completion: .directory)
    var store: String
  }

  /// Runs `body` and turns what it finds wrong into the command's failure.
  static func reporting(json: Bool, _ body: () throws(Problem) -> Void) throws {
    try reportingProblems(json: json) { () throws(Problems) in
      do throws(Problem) { try body() } catch { throw Problems([error]) }
    }
  }

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Adds a model; makes the store if there is none.",
      discussion: """
        Everything is read back and compared before the model appears. The model itself is not touched.

        EXAMPLES
          espalier store add shelf base
          espalier store add shelf tuned --base base
          espalier store add shelf model-Q4_K_M.gguf --name small
          espalier store add shelf cache/snapshots/1a2b --name base --follow-links
        """)

    @OptionGroup var place: Place

    @Argument(help: "A folder, or a file, which becomes a folder of one.", completion: .directory)
    var model: String

    @Option(help: "Its name in the store (default: that of the folder or file).")
    var name: String?

    @Option(help: "A model of the store that it is kept against (default: those that it is like).")
    var base: String?

    @Flag(help: "Replace a model of the same name.")
    var force = false

    @Flag(help: "Take what links that leave the model's folder lead to, as in a cache of downloads.")
    var followLinks = false

    @OptionGroup var work: WorkOptions
    @OptionGroup var style: OutputStyle

    func run() throws {
      try reportingProblems(json: style.json) { () throws(Problems) in
        let store: ModelStore
        do throws(Problem) { store = try ModelStore(at: place.store, creating: FileSystem.kind(model) != nil) } catch {
          throw Problems([error])
        }
        var options = ModelStore.AdditionOptions(threads: work.threadCount, memory: work.memoryBytes)
        (options.base, options.replaces, options.followsLinks) = (base, force, followLinks)
        let name = name ?? FileSystem.lastComponent(of: FileSystem.resolved(model) ?? model)
        let addition = try store.add(model, as: name, options, listener: style.listener())
        if style.json { print(addition.json.text()) } else if !style.quiet { print(addition.text) }
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Gives a model back, byte for byte.",
      discussion: """
        Every file is compared with its digest before the folder appears.

        EXAMPLES
          espalier store get shelf tuned -o tuned
        """)

    @OptionGroup var place: Place

    @Argument(help: "The model's name.")
    var name: String

    @Option(name: [.short, .long], help: "The folder to write.", completion: .directory)
    var output: String

    @Flag(help: "Continue an interrupted run.")
    var resume = false

    @Flag(help: "Replace an existing output, and start over if a partial one is there.")
    var force = false

    @OptionGroup var work: WorkOptions
    @OptionGroup var style: OutputStyle

    func run() throws {
      try reportingProblems(json: style.json) { () throws(Problems) in
        var output = output
        while output.count > 1, output.hasSuffix("/") { output.removeLast() }
        var options = UnpackingRun.Options(output: output, threads: work.threadCount, memory: work.memoryBytes)
        options.policy = OutputFolder.Policy(resume: resume, force: force)
        let store: ModelStore
        do throws(Problem) { store = try ModelStore(at: place.store) } catch { throw Problems([error]) }
        let outcome = try store.get(name, options, listener: style.listener())
        if style.json {
          print(
            JSON.object([
              ("event", "got"), ("name", .string(name)), ("output", .string(output)),
              ("files", .number(outcome.files)), ("bytes", .number(outcome.bytes)),
              ("seconds", .number(outcome.seconds)),
              ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
            ]).text())
        } else if !style.quiet {
          print(
            "\(output): \(outcome.files) files, \(ByteCount.text(outcome.bytes)), every byte as it was "
              + "(\(Decimals.text(outcome.seconds, 2)) s)")
        }
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Lists the models of a store.",
      discussion: """
        `kept` are the bytes of all files that a model needs for itself, `own` of those that no other model has, `against`
        the models that it is kept as the difference from. Times are universal.

        EXAMPLES
          espalier store list shelf
          espalier store list shelf --json
        """)

    @OptionGroup var place: Place
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
      try Store.reporting(json: json) { () throws(Problem) in
        let store = try ModelStore(at: place.store)
        let (entries, kept) = (try store.entries(), try store.keptBytes())
        let whole = entries.map(\.bytes).saturatingSum
        guard !json else {
          return print(
            JSON.object([
              ("event", "listed"), ("bytes", .number(whole)), ("kept_bytes", .number(kept)),
              ("models", .array(entries.map(\.json))),
            ]).text())
        }
        var table = TextTable()
        table.add("model", align: .left, entries.map(\.name))
        table.add("files", entries.map { "\($0.files)" })
        table.add("bytes", entries.map { ByteCount.text($0.bytes) })
        table.add("kept", entries.map { ByteCount.text($0.keptBytes) })
        table.add("own", entries.map { ByteCount.text($0.ownBytes) })
        table.add("added", align: .left, entries.map { $0.added.replacing("T", with: " ").replacing("Z", with: "") })
        table.add(
          "against", align: .left,
          entries.map { $0.problem == nil ? $0.bases.joined(separator: ", ") : "damaged, see `espalier store check`" })
        for line in table.lines where !entries.isEmpty { print(line) }
        print(
          "\(entries.count) model\(entries.count == 1 ? "" : "s"), \(ByteCount.text(whole)) kept in \(ByteCount.text(kept))"
        )
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes a model out.",
      discussion: """
        What other models are kept against stays; `espalier store gc` frees what no model needs any more.

        EXAMPLES
          espalier store remove shelf tuned
        """)

    @OptionGroup var place: Place
    @Argument(help: "The model's name.") var name: String
    @OptionGroup var style: OutputStyle

    func run() throws {
      try Store.reporting(json: style.json) { () throws(Problem) in
        try ModelStore(at: place.store).remove(name)
        if style.json {
          print(JSON.object([("event", "removed"), ("name", .string(name))]).text())
        } else if !style.quiet {
          print("\(name) is removed; `espalier store gc \(place.store)` frees what no other model needs")
        }
      }
    }
  }

  struct Collect: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "gc", abstract: "Removes what no model needs, and what interrupted runs have left.",
      discussion: """
        Waits until no other program uses the store.

        EXAMPLES
          espalier store gc shelf
        """)

    @OptionGroup var place: Place
    @OptionGroup var style: OutputStyle

    func run() throws {
      try Store.reporting(json: style.json) { () throws(Problem) in
        let collection = try ModelStore(at: place.store).collectGarbage()
        if style.json {
          print(
            JSON.object([
              ("event", "collected"), ("objects", .number(collection.objects)), ("bytes", .number(collection.bytes)),
            ]).text())
        } else if !style.quiet {
          print("\(collection.objects) objects removed, \(ByteCount.text(collection.bytes)) freed")
        }
      }
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Reads everything, and names what is not as it was.",
      discussion: """
        EXAMPLES
          espalier store check shelf
        """)

    @OptionGroup var place: Place
    @OptionGroup var work: WorkOptions
    @OptionGroup var style: OutputStyle

    func run() throws {
      try reportingProblems(json: style.json) { () throws(Problems) in
        let check: ModelStore.Check
        do throws(Problem) {
          check = try ModelStore(at: place.store).check(
            threads: work.threadCount, memory: work.memoryBytes, listener: style.listener())
        } catch { throw Problems([error]) }
        guard check.problems.isEmpty else { throw Problems(check.problems) }
        if style.json {
          print(
            JSON.object([
              ("event", "checked"), ("models", .number(check.models)), ("objects", .number(check.objects)),
              ("bytes", .number(check.bytes)),
            ]).text())
        } else if !style.quiet {
          print(
            "\(place.store): \(check.models) models, \(check.objects) files of \(ByteCount.text(check.bytes)), "
              + "everything as it was written")
        }
      }
    }
  }
}
