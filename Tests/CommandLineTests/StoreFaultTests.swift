import EspalierBasics
import TestSupport
import Testing

/// Runs that are killed, full disks, and several programs at once leave a store that is whole.
@Suite(.serialized) struct StoreFaultTests {
  private static let attempts = 24

  @Test func killedWhileAdding() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 2, layers: 4)
      try scene.add("base")
      try scene.add("tuned0")
      let packed = try File.reading("\(scene.store)/models/tuned0/model.safetensors.packed").size()
      try scene.run("remove", "tuned0")
      try scene.run("gc")
      var killed = 0
      for attempt in 0..<Self.attempts {
        let place: Comment = "seed \(seed), attempt \(attempt)"
        // Now and then the first model of a store, or one that takes the place of another.
        if attempt % 8 == 5 { try FileSystem.remove(scene.store) }
        if attempt % 8 == 6 { try scene.add("tuned1", as: "tuned0") }
        let isFirst = attempt % 8 == 5
        let replaces = attempt % 8 == 6
        let arguments = scene.addition(of: "tuned0") + (replaces ? ["--force"] : [])
        // Before all else, while it is packed, and when objects are there that no model has yet.
        let (wanted, there) = (Int.random(in: 0...packed, using: &generator), StoreScene.count(in: scene.objects))
        let isDead = try scene.kill(arguments, after: attempt % 3 == 0 ? 30_000 : 4000, &generator) {
          switch attempt % 3 {
          case 0: true
          case 1: StoreScene.bytes(in: scene.incoming) >= wanted
          default: StoreScene.count(in: scene.objects) > there
          }
        }
        killed += isDead ? 1 : 0
        let names = FileSystem.isFile("\(scene.store)/espalier-store.json") ? try scene.names() : []
        if isFirst {
          try scene.add("base")
        } else {
          #expect(names.contains("base"), place)
        }
        var models = [(stored: "base", model: "base")]
        if replaces {
          // One or the other, whole.
          try scene.expectWhole(models, place)
          let got = try Program.run("store", "get", scene.store, "tuned0", "-o", scene.output, "--quiet")
          #expect(got.code == 0, "\(got) \(place)")
          let found = try ["tuned0", "tuned1"].filter { try differences(scene.output, scene.model($0)) == [] }
          #expect(found.count == 1, place)
          try FileSystem.remove(scene.output)
        } else {
          if names.contains("tuned0") { models.append(("tuned0", "tuned0")) }
          try scene.expectWhole(models, place)
          if !names.contains("tuned0") { try scene.add("tuned0") }
          try scene.expectWhole([("tuned0", "tuned0")], place)
        }
        try scene.run("remove", "tuned0")
        if attempt % 3 == 2 { try scene.run("gc") }
      }
      print("killed \(killed) of \(Self.attempts) times while adding (seed \(seed))")
      #expect(killed >= Self.attempts / 3, "seed \(seed)")
    }
  }

  @Test func killedWhileRemovingAndCollecting() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 3)
      for name in ["base", "tuned0"] { try scene.add(name) }
      var (killed, collected) = (0, 0)
      for attempt in 0..<Self.attempts {
        let place: Comment = "seed \(seed), attempt \(attempt)"
        let goes = attempt % 4 == 3 ? "base" : "tuned1"
        let known = try scene.names()
        for name in ["base", "tuned1", "tuned2"] where !known.contains(name) { try scene.add(name) }
        let isRemoved = try scene.kill(
          ["store", "remove", scene.store, goes], after: attempt % 2 == 0 ? 20_000 : 300, &generator
        ) { attempt % 2 == 0 || !FileSystem.isFolder("\(scene.store)/models/\(goes)") }
        killed += isRemoved ? 1 : 0
        let names = try scene.names()
        #expect(names.contains("tuned0") && names.contains("tuned2"), place)
        try scene.expectWhole((attempt % 8 == 0 ? names : ["tuned0"]).map { ($0, $0) }, place)
        if names.contains(goes) { try scene.run("remove", goes) }
        try scene.run("remove", "tuned2")
        let there = StoreScene.count(in: scene.objects)
        let isCollected = try scene.kill(
          ["store", "gc", scene.store], after: attempt % 2 == 0 ? 20_000 : 300, &generator
        ) { attempt % 2 == 0 || StoreScene.count(in: scene.objects) < there }
        collected += isCollected ? 1 : 0
        try scene.expectWhole([("tuned0", "tuned0")], place)
      }
      print("killed \(killed) times while removing, \(collected) while collecting (seed \(seed))")
      #expect(min(killed, collected) >= Self.attempts / 4, "seed \(seed)")
      try scene.run("gc")
      for name in try scene.names() { try scene.run("remove", name) }
      try scene.run("gc")
      let listed = try Program.run("store", "list", scene.store, "--json")
      #expect(try listed.events.last?["kept_bytes"]?.integer == 0, "\(listed)")
    }
  }

  @Test func killedWhileGivingBack() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1, layers: 4)
      for name in ["base", "tuned0"] { try scene.add(name) }
      let get = ["store", "get", scene.store, "tuned0", "-o", scene.output, "--quiet"]
      var killed = 0
      for attempt in 0..<Self.attempts {
        let place: Comment = "seed \(seed), attempt \(attempt)"
        let partial = scene.output + ".partial"
        let isDead = try scene.kill(get, after: attempt % 3 == 0 ? 30_000 : 8000, &generator) {
          switch attempt % 3 {
          case 0: true
          case 1: FileSystem.isFolder(partial)
          default: FileSystem.isFile("\(partial)/config.json")
          }
        }
        killed += isDead ? 1 : 0
        if FileSystem.kind(scene.output) != nil {
          #expect(try differences(scene.output, scene.model("tuned0")) == [], place)
          try FileSystem.remove(scene.output)
        }
        if FileSystem.kind(scene.output + ".partial") != nil {
          let again = try Program.run(get + [attempt % 2 == 0 ? "--resume" : "--force"])
          #expect(again.code == 0, "\(again) \(place)")
          #expect(try differences(scene.output, scene.model("tuned0")) == [], place)
          try FileSystem.remove(scene.output)
        }
      }
      try scene.expectWhole([("base", "base"), ("tuned0", "tuned0")], "seed \(seed)")
      print("killed \(killed) of \(Self.attempts) times while giving back (seed \(seed))")
      #expect(killed >= Self.attempts / 3, "seed \(seed)")
    }
  }

  // MARK: - Full disks

  @Test(.enabled(if: DiskTests.canMount, "needs the right to mount a file system"))
  func fullDisk() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1, layers: 4, width: 512)
      try TestModel.layers(4, width: 512).write(to: scene.model("other"), seed: 9)
      // The models have 4.2 MB each.
      let outcome = try Program.shell(
        """
        mount -t tmpfs -o size=5m none /mnt
        cd '\(folder)'
        "$espalier" store add /mnt/shelf base --quiet; echo "base $?"
        "$espalier" store add /mnt/shelf other --quiet 2> full; echo "other $?"
        "$espalier" store check /mnt/shelf --quiet; echo "check $?"
        ls /mnt/shelf/incoming
        "$espalier" store get /mnt/shelf base -o /mnt/back --quiet 2> get; echo "get $?"
        ls /mnt
        "$espalier" store get /mnt/shelf base -o back --quiet; echo "get $?"
        mount -o remount,size=20m /mnt
        "$espalier" store add /mnt/shelf other --quiet; echo "other $?"
        "$espalier" store check /mnt/shelf --quiet; echo "check $?"
        """, prefix: ["unshare", "-m"])
      #expect(
        outcome.output == "base 0\nother 1\ncheck 0\nget 1\nshelf\nget 0\nother 0\ncheck 0\n", "\(outcome)")
      let message = String(decoding: try FileSystem.read("\(folder)/full"), as: UTF8.self)
      #expect(message.contains("file.no-space") && message.contains("add the model again"), "\(message)")
      #expect(try String(decoding: FileSystem.read("\(folder)/get"), as: UTF8.self).contains("output.space"))
      #expect(try differences("\(folder)/back", scene.model("base")) == [])
    }
  }

  @Test func limitOnTheSizeOfFiles() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 1, layers: 4, width: 512)
      try scene.add("base")
      try TestModel.layers(4, width: 512).write(to: scene.model("other"), seed: 9)
      let add = "\"$espalier\" " + scene.addition(of: "other").joined(separator: " ")
      // Blocks of 512 bytes or of 1,024, as the shell likes: 0.5 or 1 MB, less than what is packed.
      let outcome = try Program.shell("ulimit -f 1024; \(add)")
      #expect(outcome.code == 1 && outcome.errors.contains("file.no-space"), "\(outcome)")
      #expect(try FileSystem.list("\(scene.store)/incoming").isEmpty)
      let get = "\"$espalier\" store get \(scene.store) base -o \(scene.output) --quiet"
      let got = try Program.shell("ulimit -f 1024; \(get)")
      #expect(got.code == 1 && got.errors.contains("file.no-space"), "\(got)")
      #expect(FileSystem.kind(scene.output) == nil && FileSystem.kind(scene.output + ".partial") == nil)
      try scene.expectWhole([("base", "base")], "after the limit")
      try scene.add("other")
      try scene.expectWhole([("other", "other")], "after another try")
    }
  }

  // MARK: - At once

  @Test func severalAtOnce() throws {
    try withTemporaryFolder { folder in
      let scene = try StoreScene(in: folder, tuned: 4)
      // The store is made by whoever is first; one name is wanted twice.
      let names = ["base", "tuned0", "tuned1", "tuned2", "tuned3", "base"]
      var adding = try names.map { try Program(scene.addition(of: $0)) }
      for round in 0..<4 {
        let collecting = try (0..<2).map { _ in try Program(["store", "gc", scene.store]) }
        let outcomes = try adding.map { try $0.wait() }
        for outcome in try collecting.map({ try $0.wait() }) {
          // Before the first model there may be no store.
          #expect(outcome.code == 0 || round == 0 && outcome.errors.contains("store.format"), "\(outcome)")
        }
        if round == 0 {
          #expect(outcomes.dropFirst().dropLast().allSatisfy { $0.code == 0 }, "\(outcomes)")
          #expect([outcomes[0], outcomes[5]].compactMap(\.code).sorted() == [0, 1], "\(outcomes)")
          let refused = outcomes[0].code == 0 ? outcomes[5] : outcomes[0]
          #expect(refused.errors.contains("store.model"), "\(refused)")
        } else {
          #expect(outcomes.allSatisfy { $0.code == 0 }, "\(outcomes)")
        }
        try scene.expectWhole(Array(Set(names)).sorted().map { ($0, $0) }, "round \(round)")
        // Some go while others come.
        adding = try ["tuned1", "tuned2"].map { try Program(["store", "remove", scene.store, $0]) }
        for program in adding { #expect(try program.wait().code == 0) }
        adding = try ["tuned1", "tuned2"].map { try Program(scene.addition(of: $0)) }
      }
      for program in adding { #expect(try program.wait().code == 0) }
      try scene.expectWhole(Array(Set(names)).sorted().map { ($0, $0) }, "at the end")
    }
  }
}
